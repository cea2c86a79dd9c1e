"""How a job ended by its own account: `result.json`, and what each of its ranks wrote down. Imports nothing heavy."""

import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from airloom.contracts import Record
from airloom.errors import AirloomError
from airloom.jobs import files


@dataclass(frozen=True)
class Failure(Record):
    """An error that crosses processes.

    Attributes:
        error: what went wrong.
        hint: what to do about it.
        type: name of the error's class.
    """

    error: str
    hint: str = ""
    type: str = ""

    @classmethod
    def of(cls, error: BaseException) -> Self:
        """An error of ours explains itself; of any other, the log has more."""
        name = type(error).__name__
        if isinstance(error, AirloomError):
            return cls(error.message, error.hint, name)
        return cls(f"{name}: {error}", "the log has the traceback", name)


@dataclass(frozen=True)
class RankFailure(Failure):
    """The failure of one rank.

    Attributes:
        rank: which.
        time: of the failure, seconds since 1970.
        stopped: it was asked to end.
    """

    rank: int = 0
    time: float = 0.0
    stopped: bool = False


@dataclass(frozen=True)
class JobResult:
    """How a job ended.

    Attributes:
        ok: it ended well.
        value: what it returned, where it did.
        failure: why it did not end well.
        stopped: it was asked to end, and goes on in the next attempt.
    """

    ok: bool
    value: dict[str, Any] = field(default_factory=dict)
    failure: Failure = field(default_factory=lambda: Failure(""))
    stopped: bool = False


def write_result(folder: Path, result: JobResult) -> None:
    """Write `result.json` of an attempt."""
    failed = {"ok": False, "stopped": result.stopped, **result.failure.to_dict()}
    files.write(folder / files.RESULT, {"ok": True, "value": result.value} if result.ok else failed)


def read_result(folder: Path) -> JobResult | None:
    """How the job of an attempt ended by its own account; None where it wrote nothing.

    A command may write the file too, so it may hold anything.
    """
    path = folder / files.RESULT
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        return JobResult(ok=False, failure=Failure(f"its {files.RESULT} cannot be read: {error}"))
    wanted = {True: ("value", dict), False: ("error", str)}
    ok = values.get("ok") if isinstance(values, dict) else None
    if not isinstance(ok, bool) or not isinstance(values.get(wanted[ok][0]), wanted[ok][1]):
        message = f"its {files.RESULT} has neither ok: true with a value, nor ok: false with an error"
        return JobResult(ok=False, failure=Failure(message))
    if ok:
        return JobResult(ok=True, value=dict(values["value"]))
    failure = Failure(values["error"], str(values.get("hint") or ""), str(values.get("type") or ""))
    return JobResult(ok=False, failure=failure, stopped=bool(values.get("stopped")))


def write_rank_failure(folder: Path, failure: RankFailure) -> None:
    """Write down that a rank failed; what it wrote first stays, as later errors follow from it."""
    path = _of_rank(folder, failure.rank)
    if not path.exists():
        files.write(path, failure.to_dict())


def read_rank_failure(folder: Path, rank: int) -> RankFailure | None:
    """The failure of a rank, None where it wrote none down."""
    values = files.read(_of_rank(folder, rank))
    names = {field.name for field in fields(RankFailure)}  # another airloom, which was refused, may have others
    return RankFailure(**{n: v for n, v in values.items() if n in names}) if values else None


def rank_failures(folder: Path) -> list[RankFailure]:
    """The failures that ranks wrote down, the earliest first; without those that were asked to end."""
    ranks = [int(path.stem.removeprefix("error-rank")) for path in folder.glob("error-rank*.json")]
    failures = [failure for rank in ranks if (failure := read_rank_failure(folder, rank))]
    return sorted((failure for failure in failures if not failure.stopped), key=lambda failure: failure.time)


def _of_rank(folder: Path, rank: int) -> Path:
    return folder / f"error-rank{rank}.json"
