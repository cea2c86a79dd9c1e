"""Who may ask, and for what: whoever has the stack's token, or one of a file that is read again when it has changed."""

import hmac
import logging
import math
import threading
import time
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from airloom.errors import AirloomError
from airloom.names import ModelName
from airloom.registry import tokens
from airloom.registry.tokens import ADMIN, METRICS, PREDICT, Token, digest_of
from airloom_serving.asgi import Refused

EVERY = 1.0  # seconds between two looks at the file
_BEARER = b"Bearer "
_KEY = 8  # bytes of a digest by which a token is found; then all of it is compared
log = logging.getLogger(__name__)


class Bucket:
    """Requests a second, and so many at once after a pause. It is filled when somebody asks: there is no timer."""

    def __init__(self, rate: float, burst: int) -> None:
        self.rate, self.burst = rate, burst
        self._left, self._at = float(burst), time.monotonic()

    def take(self) -> float:
        """Take a place, and give 0; where there is none, the seconds until there is one."""
        now = time.monotonic()
        self._left = min(self.burst, self._left + (now - self._at) * self.rate)
        self._at = now
        if self._left < 1:
            return (1 - self._left) / self.rate
        self._left -= 1
        return 0.0


@dataclass(frozen=True, slots=True)
class Grant:
    """What somebody may do."""

    digest: bytes = b""
    every_model: bool = False
    models: frozenset[str] = frozenset()  # by short name
    admin: bool = False
    metrics: bool = False
    until: float = math.inf  # seconds since 1970
    bucket: Bucket | None = None

    def may_ask(self, model: str) -> bool:
        """Whether for predictions of a model, by its short name."""
        return self.every_model or model in self.models

    def may_see(self, model: str) -> bool:
        """Whether it may know that the model is served, and what it takes."""
        return self.admin or self.may_ask(model)


ALL = Grant(every_model=True, admin=True, metrics=True)
NOBODY = Grant()
# Of the request that is being answered. Where no guard stands before the routes nobody is kept out.
GRANT: ContextVar[Grant] = ContextVar("airloom.grant", default=ALL)


def check_ask(model: str) -> None:
    """Refuse a request for predictions of a model that its token is not for.

    Raises:
        Refused: with 403; whether there is such a model is not said.
    """
    if not GRANT.get().may_ask(model):
        raise forbidden(f"{PREDICT}:{model}")


def check_see(model: str) -> None:
    """Refuse a request about a model that its token is not for.

    Raises:
        Refused: likewise.
    """
    if not GRANT.get().may_see(model):
        raise forbidden(f"{PREDICT}:{model}")


def check_admin() -> None:
    """Refuse a request for what only an administrator may know.

    Raises:
        Refused: with 403.
    """
    if not GRANT.get().admin:
        raise forbidden(ADMIN)


def forbidden(scope: str) -> Refused:
    """403, with the scope that the token lacks."""
    model = scope.partition(":")[2]
    told = scope if not model or ModelName.match(model) else PREDICT  # what is no name does not go into a header
    header = f'Bearer error="insufficient_scope", scope="{told}"'.encode()
    shown = f"{PREDICT}:{model[:80]!a}" if told != scope else scope
    text = f"this token has not the scope {shown}; `airloom token create NAME --scope SCOPE` makes one that has"
    return Refused(403, text, (b"www-authenticate", header))


class Access:
    """Finds what the header of a request allows. A thread looks each second whether the file has changed.

    A file that is damaged, or that is gone, changes nothing: those whom it let in before are let in, and `problem` says
    what is wrong. A process that starts with a damaged one lets in whoever has the stack's token.

    Args:
        token: the stack's own, which may do everything; empty for none.
        file: of other tokens; None for none.
    """

    def __init__(self, token: str, file: Path | None = None) -> None:
        self.problem = ""
        self._own = {}
        if token:
            digest = digest_of(token.encode())
            self._own[digest[:_KEY]] = Grant(digest, every_model=True, admin=True, metrics=True)
        # By the first bytes of a digest, and by header as it was found good; one reference, as a thread replaces both.
        self._table: tuple[dict[bytes, Grant], dict[bytes, Grant]] = (dict(self._own), {})
        self._file = file
        self._seen: tuple[int, ...] | None = None  # what the system said of the file that was read last
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tokens", daemon=True)
        self.look()

    def of(self, header: bytes) -> Grant | None:
        """What a request may do by its `Authorization`; None where it may do nothing at all."""
        grants, known = self._table
        grant = known.get(header)  # by a hash with a secret of this process: how long it takes tells nothing
        if grant is None:
            grant = _found(grants, header)
            if grant is None:
                return None
            known[header] = grant  # one for each token at most
        return grant if time.time() < grant.until else None

    def start(self) -> None:
        """Begin to look."""
        if self._file is not None:
            self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()

    def look(self) -> None:
        """Read the file where it has changed."""
        if self._file is None:
            return
        try:
            status = self._file.stat()
            seen = (status.st_mtime_ns, status.st_size, status.st_ino, status.st_ctime_ns)
            if seen == self._seen:
                return
            found = tokens.read(self._file)
        except FileNotFoundError:
            if self._seen is not None:
                self._tell(f"{self._file} is gone")
            return
        except (AirloomError, OSError) as error:
            self._tell(str(error))
            return
        self._seen = seen
        self._table = {**{key: grant for key, grant in map(self._granted, found) if grant}, **self._own}, {}
        if self.problem:
            log.info("the file of the tokens is good again")
        self.problem = ""

    def _granted(self, token: Token) -> tuple[bytes, Grant | None]:
        digest = bytes.fromhex(token.digest)
        if token.revoked:
            return b"", None
        before = self._table[0].get(digest[:_KEY])
        bucket = before.bucket if before else None
        if bucket is None or (bucket.rate, bucket.burst) != (token.rate, token.burst):
            bucket = Bucket(token.rate, token.burst) if token.rate else None
        models = frozenset(scope.partition(":")[2] for scope in token.scopes if ":" in scope)
        every = PREDICT in token.scopes
        admin, metrics = ADMIN in token.scopes, METRICS in token.scopes
        return digest[:_KEY], Grant(digest, every, models, admin, metrics, token.until, bucket)

    def _tell(self, problem: str) -> None:
        if problem != self.problem:
            log.error("tokens stay as they were: %s", problem)
        self.problem = problem[:500]

    def _run(self) -> None:
        while not self._stop.wait(EVERY):
            self.look()


def _found(grants: dict[bytes, Grant], header: bytes) -> Grant | None:
    """Its digest is looked up by its first bytes, which tell nothing of the token, then compared in constant time."""
    if not header.startswith(_BEARER):
        return None
    digest = digest_of(header[len(_BEARER) :])
    grant = grants.get(digest[:_KEY])
    return grant if grant is not None and hmac.compare_digest(grant.digest, digest) else None
