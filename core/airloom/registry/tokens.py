"""Tokens of those who ask the model server, and what each of them may do.

`home/tokens.json` holds the digest of each token, never a token: who reads it cannot ask. Servers read it again when it
has changed, so a token is made, replaced or revoked while they run.
"""

import hashlib
import math
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from json import dumps
from pathlib import Path
from typing import Any

from airloom.contracts import Record
from airloom.errors import ConfigError, CorruptFile
from airloom.files import read_json, write_private
from airloom.names import ModelName
from airloom.settings import Settings

FILE = "tokens.json"
PREDICT, ADMIN, METRICS = "predict", "admin", "metrics"
SCOPES = "predict, predict:MODEL, admin and metrics"
RESTORE = (
    "put a backup there, or remove it and make the tokens anew; meanwhile a running server knows those that it had, "
    "and one that starts knows the stack's only"
)
_ID = 16  # hex digits of a digest that name a token


@dataclass(frozen=True)
class Token(Record):
    """What is kept of a token."""

    id: str  # the beginning of its digest
    name: str  # whose it is
    digest: str  # sha256, hex
    scopes: list[str]  # predict, predict:MODEL, admin, metrics
    since: str  # ISO 8601, UTC
    ends: str = ""  # ISO 8601, UTC; empty: never
    rate: float = 0.0  # requests a second; 0: as many as come
    burst: int = 0  # requests at once, after a pause
    revoked: str = ""  # ISO 8601, UTC; empty while it is good

    @property
    def until(self) -> float:
        """When it ends, in seconds since 1970."""
        return datetime.fromisoformat(self.ends).timestamp() if self.ends else math.inf

    @property
    def state(self) -> str:
        """`good`, `ended` or `revoked`."""
        return "revoked" if self.revoked else "ended" if self.until <= datetime.now(UTC).timestamp() else "good"

    def shown(self) -> dict[str, Any]:
        """For programs that list them."""
        values = self.to_dict()
        del values["digest"]
        return values | {"state": self.state}


def digest_of(token: bytes) -> bytes:
    """What of a token is compared and kept."""
    return hashlib.sha256(token).digest()


def file_of(settings: Settings) -> Path:
    """Where they stand."""
    return settings.home / FILE


def read(path: Path) -> list[Token]:
    """All tokens of a file, revoked ones too; none where there is no file.

    Raises:
        CorruptFile: it is damaged or cannot be read.
    """
    values = read_json(path, RESTORE)
    if values is None:
        return []
    try:
        return [_checked(token) for token in values["tokens"]]
    except (KeyError, TypeError, ValueError, AttributeError, ConfigError) as error:
        what = error.message if isinstance(error, ConfigError) else f"{type(error).__name__}: {error}"
        raise CorruptFile(f"{path} is damaged: {what[:200]}", RESTORE) from None


def create(
    settings: Settings,
    name: str,
    scopes: Iterable[str] = (PREDICT,),
    ends: str = "",
    rate: float | None = None,
    burst: int | None = None,
) -> tuple[Token, str]:
    """Make a token; what is kept of it, and the token itself, which is not kept.

    Args:
        settings: of this installation.
        name: whose it is; several may have one name.
        scopes: what it may do.
        ends: when it ends, as ISO 8601; "": never.
        rate: requests a second that each server process takes of it; None: as many as come.
        burst: requests at once, after a pause; None: those of a second, at least one.

    Raises:
        ConfigError: one of these has a value that it cannot have.
        CorruptFile: the file of the tokens is damaged.
    """
    if not name.strip() or not name.isprintable() or len(name) > 100:
        raise ConfigError(f"{name[:100]!a} is no name of a token", "say whose it is: airloom token create web-shop")
    wanted = [_scope(scope) for scope in dict.fromkeys(scopes)]
    if not wanted:
        raise ConfigError("a token without a scope may do nothing", f"--scope takes {SCOPES}")
    limit, at_once = _rate(rate, burst)
    text = f"airloom_{secrets.token_urlsafe(32)}"
    digest = digest_of(text.encode()).hex()
    token = Token(digest[:_ID], name.strip(), digest, wanted, _now(), _end(ends), limit, at_once)
    with _alone(settings):
        _write(settings, [*read(file_of(settings)), token])
    return token, text


def revoke(settings: Settings, which: str) -> Token:
    """Take a token back; each server refuses it within two seconds.

    Args:
        settings: of this installation.
        which: its id or the beginning of it, or its name.

    Raises:
        ConfigError: no token that is not revoked is called so, or more than one.
        CorruptFile: the file of the tokens is damaged.
    """
    with _alone(settings):
        tokens = read(file_of(settings))
        good = [token for token in tokens if not token.revoked]
        found = [token for token in good if which and token.id.startswith(which)] or [
            token for token in good if token.name == which
        ]
        if len(found) != 1:
            problem = f"{len(found)} tokens are called" if found else "there is no token"
            raise ConfigError(
                f"{problem} {which[:100]!a}", "give the id, or its beginning: `airloom token list` has all"
            )
        revoked = found[0].with_(revoked=_now())
        _write(settings, [revoked if token is found[0] else token for token in tokens])
    return revoked


def _checked(values: dict[str, Any]) -> Token:
    """A token of the file; what is wrong with it is a ValueError or a TypeError."""
    token = Token.from_dict(values)
    texts = (token.id, token.name, token.digest, token.since, token.ends, token.revoked)
    if not all(isinstance(text, str) for text in texts) or not isinstance(token.scopes, list):
        raise TypeError("a token's field has another type")
    if len(bytes.fromhex(token.digest)) != hashlib.sha256().digest_size or token.id != token.digest[:_ID]:
        raise ValueError(f"the token {token.id[:40]!a} has another digest")
    for scope in token.scopes:
        _scope(scope)
    if type(token.burst) is not int or type(token.rate) not in (int, float) or not 0 <= token.rate < math.inf:
        raise ValueError(f"the token {token.id} has the rate {str(token.rate)[:40]!a}")
    if token.rate and token.burst < 1:
        raise ValueError(f"the token {token.id} has the burst {token.burst}")
    if token.ends and datetime.fromisoformat(token.ends).tzinfo is None:
        raise ValueError(f"the token {token.id} ends at {token.ends}, which names no time zone")
    return token


def _scope(scope: str) -> str:
    kind, colon, model = scope.partition(":")
    if not colon and scope in (PREDICT, ADMIN, METRICS):
        return scope
    named = ModelName.match(model) if kind == PREDICT else None
    if named is None or named.version or named.alias or model.startswith("models:/"):
        raise ConfigError(f"there is no scope {scope[:100]!a}", f"there are {SCOPES}; for example predict:digits")
    return scope


def _rate(rate: float | None, burst: int | None) -> tuple[float, int]:
    if rate is None:
        if burst is not None:
            raise ConfigError(f"--burst {burst} has no --rate", "say how many requests a second: --rate 10 --burst 20")
        return 0.0, 0
    if not 0 < rate <= 1e6:  # of NaN neither is true
        raise ConfigError(f"--rate {rate} is no number of requests a second", "give one above 0, for example --rate 10")
    if burst is not None and not 1 <= burst <= 1e6:
        raise ConfigError(f"--burst {burst} is no number of requests", "give 1 or more, for example --burst 20")
    return float(rate), burst or max(1, math.ceil(rate))


def _end(text: str) -> str:
    if not text:
        return ""
    try:
        end = datetime.fromisoformat(text)
        end = (end if end.tzinfo else end.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ConfigError(f"--ends {text[:60]!a} is no date", "for example --ends 2030-01-31") from None
    if end <= datetime.now(UTC):
        raise ConfigError(f"--ends {text} is past", "give a date to come, for example --ends 2030-01-31")
    return end.isoformat(timespec="seconds")


def _write(settings: Settings, tokens: list[Token]) -> None:
    write_private(file_of(settings), dumps({"tokens": [token.to_dict() for token in tokens]}, indent=1))


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    from filelock import FileLock

    with FileLock(str(settings.make_home() / "tokens.lock"), mode=0o600):
        yield


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
