"""Sign versions that exist: what an earlier release registered, once, and what a person vouches for."""

import json
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from airloom import home
from airloom.errors import AirloomError, CorruptFile, MlflowAway, RegistryError, SignatureRefused
from airloom.files import is_new, write_private
from airloom.lineage.run_files import local_folder
from airloom.names import owner_of
from airloom.registry import keys, models, signatures
from airloom.registry.keys import FOLDER, SigningKey
from airloom.settings import Settings
from airloom.sql_reader import Reader
from airloom.tracking import artifacts, runs
from airloom.tracking.tags import READY, Tag

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

MADE = "registered_model_meta"  # MLflow's client makes this file anew at each download
UPGRADE = "upgrade.json"  # in the folder of keys: what was signed because an earlier release had registered it
_UNSIGNED = """
    SELECT state.name FROM model_version_tags AS state
    JOIN model_versions AS version ON version.name = state.name AND version.version = state.version
    WHERE state.key = :state AND state.value = :ready AND version.current_stage <> 'Deleted_Internal' AND NOT EXISTS (
        SELECT 1 FROM model_version_tags AS other
        WHERE other.name = state.name AND other.version = state.version AND other.key = :signed)
"""


def sign_one(settings: Settings, reference: str) -> "ModelVersion":
    """Vouch for a version as it is in MLflow now, after its files were compared with its digests.

    Args:
        settings: of this installation.
        reference: `digits/3`, or an alias.

    Raises:
        RegistryError: there is no such version, it is another installation's, or its files were collected.
        CorruptFile: a file is not what its digest says.
        KeyRefused: the signing key is lost or open to others.
    """
    version = models.find(settings, reference)
    if owner_of(version.name) != settings.installation:
        hint = "`airloom keys trust` here, and `airloom model promote-from`, take what it signed"
        raise RegistryError(f"{version.name} is of another installation, which signs it itself", hint)
    try:
        signatures.check(settings, version)
    except SignatureRefused:
        key = keys.signing_key(settings)
        with tempfile.TemporaryDirectory(prefix="airloom-model-") as folder:
            files = Path(folder) / "model"
            artifacts.fetch_model(settings, models.uri_of(version), _digests(version), files)
            _sign(runs.client(settings), key, version, files)
    return models.get_version(settings, version.name, str(version.version))


def count_unsigned(settings: Settings) -> int:
    """How many versions an earlier release has left without a signature; 0 once none is taken without.

    Raises:
        MlflowAway: MLflow does not answer.
    """
    if settings.trusted_keys or home.demands_signatures(settings.home) or is_new(_store(settings).mlflow_uri):
        return 0
    if not settings.tracking_uri:  # also where MLflow itself must be migrated first
        values = {"state": Tag.STATE, "ready": READY, "signed": Tag.SIGNED}
        reader = Reader(settings.mlflow_tables)
        found = reader.rows(_UNSIGNED, **values) if reader.has("model_version_tags") else []
        return sum(owner_of(row[0]) == settings.installation for row in found)
    with runs.connection_errors(settings):
        return len(signatures.unsigned(settings, runs.client(settings)))


def sign_existing(settings: Settings) -> list[str]:
    """Sign all that an earlier release registered and whose files are what their digests say, once; keep what was done.

    From then on this installation takes no version without a signature. While MLflow is away nothing is done.

    Returns:
        A line for each version.
    """
    if settings.trusted_keys or home.demands_signatures(settings.home):
        return []
    done: dict[str, str] = {}
    try:
        if count_unsigned(settings):
            store = _store(settings)
            client, key = runs.client(store), keys.signing_key(settings)
            with runs.connection_errors(store):
                versions = signatures.unsigned(settings, client)
                done = {f"{v.name}/{v.version}": _tried(settings, client, key, v) for v in versions}
    except MlflowAway as error:
        return [f"versions without a signature stay so: {error.message}"]
    if done:
        record = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "versions": done}
        write_private(settings.home / FOLDER / UPGRADE, json.dumps(record, indent=1))
    home.demand_signatures(settings.home)
    return [f"{reference}: {outcome}" for reference, outcome in done.items()]


def _tried(settings: Settings, client: "MlflowClient", key: SigningKey, version: "ModelVersion") -> str:
    """Sign a version; what came of it."""
    if day := version.tags.get(Tag.COLLECTED):
        return f"left without a signature: its files were collected on {day}"
    try:
        with tempfile.TemporaryDirectory(prefix="airloom-model-") as folder:
            _sign(client, key, version, _files(settings, client, version, Path(folder) / "model"))
    except MlflowAway:
        raise
    except AirloomError as error:
        return f"left without a signature: {error.message}"
    return "signed"


def _files(settings: Settings, client: "MlflowClient", version: "ModelVersion", folder: Path) -> Path:
    """The version's files: where they lie, as the stack's MLflow need not run; else fetched."""
    from mlflow.exceptions import MlflowException

    uri = models.uri_of(version)
    try:
        location = str(client.get_logged_model(artifacts.model_id(uri)).artifact_location)
        local = local_folder(settings, location)
        return local if local is not None else artifacts.fetch_model(settings, uri, _digests(version), folder)
    except (MlflowException, OSError) as error:
        raise RegistryError(f"its files cannot be read: {str(error)[:200]}") from None


def _sign(client: "MlflowClient", key: SigningKey, version: "ModelVersion", files: Path) -> None:
    made = {} if (files / MADE).exists() else {MADE: ""}
    digests = {name: digest for name, digest in _digests(version).items() if name not in made}
    if damage := artifacts.damage(files, digests):
        raise CorruptFile(damage, "restore the artifact store, or register the model again")
    for tag, value in signatures.sign(key, version.name, version.tags).items():
        client.set_model_version_tag(version.name, version.version, tag, value)


def _digests(version: "ModelVersion") -> dict[str, str]:
    """Its digests, which nobody vouches for yet.

    Raises:
        RegistryError: there are none, or they have another form.
    """
    try:
        digests = models.digests_of(version)
    except (ValueError, TypeError, RecursionError):
        digests = {}
    if not digests or not all(isinstance(text, str) for text in digests.values()):
        raise RegistryError(f"version {version.version} of {version.name} has no digests", "register the model again")
    return digests


def _store(settings: Settings) -> Settings:
    """The same with MLflow's own tables where they are a file of this home, whose server need not run."""
    return settings if settings.tracking_uri else replace(settings, tracking_uri=settings.mlflow_tables)
