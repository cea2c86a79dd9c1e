"""What a worker and its trial process say to each other: one JSON object a line, over two pipes.

The worker sends `Setup` once and `RunTrial` for each trial. The process sends `Ready` once, and for each trial any
number of `Report` and `Sync`, each of which waits for its `Reply`, and a `TrialEnd`.
"""

import json
from dataclasses import dataclass, field, fields
from enum import StrEnum
from types import UnionType
from typing import Any, Self, TypeVar, get_args, get_origin

from airloom.contracts import PretrainedWeights, Record, Snapshot
from airloom.errors import AirloomError

SHOWN = 200  # characters of a broken message that its error shows
M = TypeVar("M", bound=Record)


class BrokenMessage(AirloomError):
    """A line over the pipe is no message, or not the one that is due."""


@dataclass(frozen=True)
class Setup(Record):
    """What all trials of a process share.

    Attributes:
        train: the training function, `file.py:name`; empty for a command.
        command: a program to run instead.
        snapshot: of the dataset.
        seed: of every trial.
        cpus: numbers of the CPUs to run on; empty for all.
        reads: files of the project that are known to be read.
        weights: that each begins with, by name.
    """

    train: str
    command: str | list[str]
    snapshot: Snapshot
    seed: int
    cpus: list[int]
    reads: list[str]
    weights: dict[str, PretrainedWeights] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Rebuild the records in it too."""
        weights = {name: PretrainedWeights.from_dict(one) for name, one in values.get("weights", {}).items()}
        return cls(**{**values, "snapshot": Snapshot.from_dict(values["snapshot"]), "weights": weights})


@dataclass(frozen=True)
class Ready(Record):
    """The process has imported everything, and takes trials."""


@dataclass(frozen=True)
class RunTrial(Record):
    """Run this trial; `folder` survives its attempts."""

    parameters: dict[str, Any]
    folder: str


@dataclass(frozen=True)
class Report(Record):
    """The metrics of a step; `resumed` is the step of the checkpoint that the trial went on from, -1 for none."""

    step: int
    metrics: dict[str, float]
    resumed: int


@dataclass(frozen=True)
class Sync(Record):
    """Force the reports to the disk: a checkpoint behind them follows."""


@dataclass(frozen=True)
class Reply(Record):
    """A report, or a sync, is done; `go` is False where the study stops the trial."""

    go: bool = True


class End(StrEnum):
    """How a trial ended. The last two are what its worker sees; no process sends them."""

    COMPLETE = "complete"
    PRUNED = "pruned"
    STOPPED = "stopped"  # on request
    FAILED = "failed"  # it raised, or broke a limit: with the same parameters it would again
    UNUSABLE = "unusable"  # the process cannot train at all, whatever the parameters
    DIED = "died"  # the process is gone
    FENCED = "fenced"  # another worker has its slot


@dataclass(frozen=True)
class TrialEnd(Record):
    """The end of a trial.

    Attributes:
        end: which.
        error: what went wrong, for people.
        hint: what to do about it.
        type: name of the error's class.
        code: of a process that died, as of `subprocess`: negative for a signal.
        samples: that the training loop took.
        cpu_seconds: of the process and its children, for this trial.
        peak_memory: most bytes that the process had.
    """

    end: End
    error: str = ""
    hint: str = ""
    type: str = ""
    code: int = 0
    samples: int = 0
    cpu_seconds: float = 0.0
    peak_memory: int = 0

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Rebuild the end too."""
        return cls(**{**values, "end": End(values["end"])})


KINDS: dict[str, type[Record]] = {
    kind.__name__: kind for kind in (Setup, Ready, RunTrial, Report, Sync, Reply, TrialEnd)
}


def encode(message: Record) -> bytes:
    """The message as a line."""
    return json.dumps({"kind": type(message).__name__, **message.to_dict()}).encode() + b"\n"


def decode(line: bytes) -> Record:
    """The message of a line.

    Raises:
        BrokenMessage: it is no JSON object, of an unknown kind, or has not the fields of its kind.
    """
    try:
        values = json.loads(line)
        message = KINDS[values.pop("kind")].from_dict(values)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _broken(line, f"{type(error).__name__}: {error}") from None
    for part in fields(message):
        if not isinstance(getattr(message, part.name), _classes(part.type)):
            raise _broken(line, f"its {part.name} is of another type")
    return message


def expect(message: Record, kind: type[M]) -> M:
    """The message, which has to be of this kind.

    Raises:
        BrokenMessage: it is of another one.
    """
    if not isinstance(message, kind):
        raise _broken(encode(message), f"{kind.__name__} is due")
    return message


def _classes(annotation: Any) -> tuple[type, ...]:
    """What `isinstance` takes for the type of a field; a whole number may stand for any number."""
    parts = get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)
    return (*(get_origin(part) or part for part in parts), *([int] if float in parts else []))


def _broken(line: bytes, why: str) -> BrokenMessage:
    text = line[:SHOWN].decode("utf-8", "replace").rstrip()
    message = f"a worker and its trial process do not understand each other: {text}: {why}"
    return BrokenMessage(message, "both must run the same airloom: end the worker, and start it again")
