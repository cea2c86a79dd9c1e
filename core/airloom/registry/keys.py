"""The key that signs model versions, and the public keys whose signatures are trusted. None of it is in MLflow.

`home/keys/signing.pem` is the private key, made at first need. The file of trusted keys holds public ones, its own
among them: `home/keys/trusted.json`, or what AIRLOOM_TRUSTED_KEYS names, which is all that another machine's server
needs.
"""

import base64
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING

from airloom import home
from airloom.contracts import Record
from airloom.errors import ConfigError, CorruptFile, KeyRefused
from airloom.files import read_json, write_private
from airloom.settings import Settings

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

FOLDER, SIGNING, TRUSTED = "keys", "signing.pem", "trusted.json"
OWN = "this installation"
RESTORE = (
    "put a backup there; the file holds public keys only, so a copy from another machine of this installation does"
)
LOST = "put a backup there, or `airloom keys rotate` makes a new one: what the old one signed stays trusted"


@dataclass(frozen=True)
class TrustedKey(Record):
    """A public key whose signatures are trusted, unless it was revoked."""

    id: str  # 32 hex digits, of the key's sha256
    name: str  # whose it is
    public: str  # the 32 bytes, base64
    since: str  # ISO 8601, UTC
    own: bool = False  # made here
    revoked: str = ""  # ISO 8601, UTC; empty while it is trusted

    @property
    def label(self) -> str:
        """For people."""
        return f"{self.id} ({self.name})"


@dataclass(frozen=True)
class SigningKey:
    """The private key of this installation. No text shows it."""

    id: str
    _private: "Ed25519PrivateKey"

    def sign(self, data: bytes) -> bytes:
        """The signature, 64 bytes."""
        return self._private.sign(data)

    def __repr__(self) -> str:
        return f"SigningKey({self.id})"


def key_id(public: bytes) -> str:
    """The name of a public key."""
    return hashlib.sha256(public).hexdigest()[:32]


def trusted_file(settings: Settings) -> Path:
    """Where the trusted keys stand."""
    return Path(settings.trusted_keys) if settings.trusted_keys else settings.home / FOLDER / TRUSTED


def trusted(settings: Settings) -> dict[str, TrustedKey]:
    """All keys that were ever trusted here, by id; revoked ones too. Empty where none was made or brought yet.

    Raises:
        CorruptFile: the file is damaged or cannot be read.
        ConfigError: AIRLOOM_TRUSTED_KEYS names no file.
    """
    path = trusted_file(settings)
    values = read_json(path, RESTORE)
    if values is None and settings.trusted_keys:
        hint = f"copy {FOLDER}/{TRUSTED} of the state folder that registers there, or unset it"
        raise ConfigError(f"AIRLOOM_TRUSTED_KEYS={path}: there is no such file", hint)
    try:
        keys = [TrustedKey.from_dict(key) for key in (values or {"keys": []})["keys"]]
        if any(key.id != key_id(base64.b64decode(key.public, validate=True)) for key in keys):
            raise ValueError("a key has another id")
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptFile(f"{path} is damaged: {error}", RESTORE) from None
    return {key.id: key for key in keys}


def signing_key(settings: Settings) -> SigningKey:
    """The key that signs, made where this installation never had one.

    Raises:
        KeyRefused: it is lost, cannot be read, or others may read it.
        CorruptFile: it is damaged.
    """
    path = settings.make_home() / FOLDER / SIGNING
    if not path.exists():
        with _alone(settings):
            if not path.exists():
                _refuse_lost(settings, path)
                _make(settings, path)
    key = _read(path)
    known = trusted(settings).get(key.id)
    if known is None:  # a kill between the two files, or a backup that came back
        with _alone(settings):
            _add(settings, _own(key))
    elif known.revoked:
        raise KeyRefused(f"the signing key {key.id} was revoked on {known.revoked}", "`airloom keys rotate`")
    return key


def rotate(settings: Settings) -> TrustedKey:
    """Make a new signing key. The public part of the old one stays trusted; its private part is gone."""
    path = settings.make_home() / FOLDER / SIGNING
    with _alone(settings):
        return _make(settings, path)


def trust(settings: Settings, pem: Path, name: str) -> TrustedKey:
    """Trust what another installation signs.

    Args:
        settings: of this installation.
        pem: file with its public key, as `airloom keys show` prints it.
        name: whose it is.

    Raises:
        ConfigError: it holds no public Ed25519 key, or the key was revoked.
    """
    public = _public(pem)
    if not name.strip() or not name.isprintable() or len(name) > 100:
        raise ConfigError(f"--name {name[:100]!a} is no name of an installation", "for example --name production")
    key = TrustedKey(key_id(public), name.strip(), base64.b64encode(public).decode(), _now())
    with _alone(settings):
        known = trusted(settings).get(key.id)
        if known and known.revoked:
            hint = "that installation must make another: `airloom keys rotate` there"
            raise ConfigError(f"the key {known.label} was revoked on {known.revoked}", hint)
        if known:
            return known
        _add(settings, key)
    return key


def revoke(settings: Settings, key: str) -> TrustedKey:
    """Trust a key no more. What it signed is served no more, until somebody signs it with another.

    Args:
        settings: of this installation.
        key: its id, or the beginning of it.

    Raises:
        ConfigError: no key, or more than one, has this id.
    """
    with _alone(settings):
        keys = trusted(settings)
        ids = [known for known in keys if key and known.startswith(key)]
        if len(ids) != 1:
            which = "more than one key begins" if ids else "no key begins"
            raise ConfigError(f"{which} with {key[:40]!a}", "`airloom keys list` has all")
        revoked = keys[ids[0]] if keys[ids[0]].revoked else keys[ids[0]].with_(revoked=_now())
        _write(settings, {**keys, revoked.id: revoked})
    return revoked


def public_pem(key: TrustedKey) -> str:
    """The public key in the form that other installations, and openssl, take."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    public = Ed25519PublicKey.from_public_bytes(base64.b64decode(key.public))
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return public.public_bytes(serialization.Encoding.PEM, form).decode()


def _public(pem: Path) -> bytes:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    hint = "give the file that `airloom keys show > FILE` wrote there"
    try:
        key = serialization.load_pem_public_key(pem.read_bytes())
    except OSError as error:
        raise ConfigError(f"{pem} cannot be read: {error.strerror}", hint) from None
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError(f"{pem} holds no public key", hint) from None
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError(f"{pem} holds a public key of another kind than Ed25519", hint)
    return key.public_bytes_raw()


def _refuse_lost(settings: Settings, path: Path) -> None:
    made = [key for key in trusted(settings).values() if key.own]
    if made:
        raise KeyRefused(f"the signing key {path} is gone; it was {made[-1].id}", LOST)


def _make(settings: Settings, path: Path) -> TrustedKey:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private = Ed25519PrivateKey.generate()
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    key = _own(SigningKey(key_id(private.public_key().public_bytes_raw()), private))
    _add(settings, key)  # first: a key that signs is trusted from its first signature on
    write_private(path, private.private_bytes(serialization.Encoding.PEM, form, plain).decode())
    return key


def _read(path: Path) -> SigningKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    try:
        if path.stat().st_mode & home.OTHERS:
            hint = f"chmod 600 {path}; if others could copy it, `airloom keys rotate` and `airloom keys revoke`"
            raise KeyRefused(f"others may read the signing key {path}", hint)
        private = serialization.load_pem_private_key(path.read_bytes(), None)
    except OSError as error:
        raise KeyRefused(f"the signing key {path} cannot be read: {error.strerror}", "look at its rights") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise CorruptFile(f"the signing key {path} is damaged", LOST) from None
    if not isinstance(private, Ed25519PrivateKey):
        raise CorruptFile(f"{path} holds a key of another kind than Ed25519", LOST)
    return SigningKey(key_id(private.public_key().public_bytes_raw()), private)


def _own(key: SigningKey) -> TrustedKey:
    public = base64.b64encode(key._private.public_key().public_bytes_raw()).decode()
    return TrustedKey(key.id, OWN, public, _now(), own=True)


def _add(settings: Settings, key: TrustedKey) -> None:
    _write(settings, {**trusted(settings), key.id: key})


def _write(settings: Settings, keys: dict[str, TrustedKey]) -> None:
    write_private(trusted_file(settings), dumps({"keys": [key.to_dict() for key in keys.values()]}, indent=1))


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    from filelock import FileLock

    folder = home.private_folder(settings.make_home() / FOLDER)
    with FileLock(str(folder / "keys.lock"), mode=0o600):
        yield


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
