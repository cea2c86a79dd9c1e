"""Who vouches for a model version: an Ed25519 signature over all that Airloom wrote on it, verified before it is read.

Whoever writes to MLflow can put any files, digests and tags there. The key that signs is in the state folder (see
`airloom.registry.keys`), so that what was changed or made without it is refused.
"""

import base64
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from airloom import home
from airloom.errors import SignatureRefused, StateError
from airloom.names import owner_of
from airloom.registry import keys
from airloom.registry.keys import SigningKey, TrustedKey
from airloom.settings import Settings
from airloom.tracking import runs
from airloom.tracking.tags import READY, Tag

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

FORM = 1
_PREFIX = "airloom."
_CONTEXT = b"airloom model version\n"  # what the key signs of another kind begins otherwise
# Not signed, as they change later: each can only keep a version from being served, or tells what came of a rollout.
CHANGING = frozenset({Tag.SIGNED, Tag.STATE, Tag.COLLECTED, Tag.ROLLOUT})
MIGRATE = (
    "`airloom db migrate`, as `airloom up` does, signs what an earlier release registered, after checking its files"
)


def content(name: str, tags: Mapping[str, str]) -> bytes:
    """What is signed: the model's name and every tag of Airloom's, in one form."""
    signed = {tag: value for tag, value in tags.items() if tag.startswith(_PREFIX) and tag not in CHANGING}
    values = {"form": FORM, "model": name, "tags": signed}
    return _CONTEXT + json.dumps(values, sort_keys=True, separators=(",", ":")).encode()


def sign(key: SigningKey, name: str, tags: Mapping[str, str]) -> dict[str, str]:
    """The tag that holds the signature.

    Args:
        key: of this installation.
        name: of the model.
        tags: all that the version has, or will have; see `content`.
    """
    signature = base64.b64encode(key.sign(content(name, tags))).decode()
    return {Tag.SIGNED: json.dumps({"form": FORM, "key": key.id, "signature": signature})}


def verify_version(version: "ModelVersion", trusted: Mapping[str, TrustedKey]) -> TrustedKey:
    """The key that signed a version as it is.

    Args:
        version: with its tags; nothing else of it is looked at.
        trusted: by id, see `keys.trusted`.

    Raises:
        SignatureRefused: it is not signed, by a key that is not or no more trusted, or was changed since.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    label, reference = f"version {version.version} of {version.name}", f"{version.name}/{version.version}"
    again = f"register it again, or vouch for it: `airloom model sign {reference}`"
    text = version.tags.get(Tag.SIGNED, "")
    if not text and Tag.MODEL_URI not in version.tags:
        hint = "move the alias to a version that a pipeline registered"
        raise SignatureRefused(f"{label} was not registered by Airloom", hint)
    if not text:
        raise SignatureRefused(f"{label} is not signed", again)
    try:
        values = json.loads(text[:1000])
        form, key_id = values["form"], str(values["key"])
        signature = base64.b64decode(values["signature"], validate=True)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise SignatureRefused(f"the signature of {label} is damaged", again) from None
    if form != FORM:
        raise SignatureRefused(
            f"the signature of {label} is of form {form!r:.20}", "a newer Airloom made it: install that"
        )
    key = trusted.get(key_id)
    if key is None:
        hint = "if that is another installation of yours, `airloom keys show` there and `airloom keys trust` here"
        raise SignatureRefused(f"{label} is signed by the key {key_id[:40]!a}, which is not trusted here", hint)
    if key.revoked:
        raise SignatureRefused(f"{label} is signed by the key {key.label}, revoked on {key.revoked}", again)
    public = Ed25519PublicKey.from_public_bytes(base64.b64decode(key.public))
    try:
        public.verify(signature, content(version.name, version.tags))
    except InvalidSignature:
        message = f"{label} is not what the key {key.label} signed: its tags in MLflow were changed"
        raise SignatureRefused(message, f"do not trust it; {again}") from None
    return key


def check(settings: Settings, version: "ModelVersion") -> TrustedKey:
    """The same with the keys that are trusted here.

    Raises:
        SignatureRefused: see `verify_version`; or no release with signatures has worked with this state folder yet.
        CorruptFile: the file of trusted keys is damaged.
    """
    known = keys.trusted(settings)
    try:
        return verify_version(version, known)
    except SignatureRefused as error:
        if Tag.SIGNED in version.tags or settings.trusted_keys or home.demands_signatures(settings.home):
            raise
        raise SignatureRefused(error.message, MIGRATE) from None


def demand(settings: Settings) -> None:
    """From now on no version of this installation is taken without a signature.

    Raises:
        StateError: an earlier release registered some, which nobody has looked at yet.
    """
    if settings.trusted_keys or home.demands_signatures(settings.make_home()):
        return
    client = runs.client(settings)
    with runs.connection_errors(settings):
        left = unsigned(settings, client)
    if left:
        count = f"{len(left)} model version{'s' if len(left) > 1 else ''}"
        raise StateError(f"an earlier release registered {count} without a signature, {left[0].name} first", MIGRATE)
    home.demand_signatures(settings.home)


def unsigned(settings: Settings, client: "MlflowClient") -> "list[ModelVersion]":
    """The complete versions of this installation's models that carry no signature."""
    versions = [
        version
        for model in runs.pages(client.search_registered_models)
        if owner_of(model.name) == settings.installation
        for version in runs.pages(client.search_model_versions, f"name = '{model.name}'")
    ]
    return [version for version in versions if version.tags.get(Tag.STATE) == READY and Tag.SIGNED not in version.tags]
