"""What a process knows of the job that it belongs to; the supervisor sets the variables read here."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from airloom.errors import ConfigError, StoppedByRequest
from airloom.jobs import files, results
from airloom.jobs.results import Failure, RankFailure

PATIENCE = 3.0  # seconds that a rank waits to learn which other rank failed before it


@dataclass(frozen=True)
class JobContext:
    """One process of a job.

    Attributes:
        key: the job's key, the same for all its attempts.
        attempt: number from 1.
        folder: of this attempt: specification, log, result.
        state: survives attempts: checkpoints, journal. Empty for a first attempt and after a person's clear.
        devices: names of the leased devices.
        rank: of this process among `world_size`.
        world_size: processes of the job that train together.
    """

    key: str
    attempt: int
    folder: Path
    state: Path
    devices: tuple[str, ...] = ()
    rank: int = 0
    world_size: int = 1


def current(environment: Mapping[str, str] = os.environ) -> JobContext | None:
    """The job of this process; None outside one: in a notebook, in a test.

    Raises:
        ConfigError: the variables contradict each other.
    """
    key = environment.get("AIRLOOM_JOB_KEY")
    if not key:
        return None
    try:
        return JobContext(
            key,
            int(environment["AIRLOOM_JOB_ATTEMPT"]),
            Path(environment["AIRLOOM_JOB_FOLDER"]),
            Path(environment["AIRLOOM_JOB_STATE"]),
            tuple(name for name in environment.get("AIRLOOM_JOB_DEVICES", "").split(",") if name),
            int(environment.get("RANK", 0)),
            int(environment.get("WORLD_SIZE", 1)),
        )
    except (KeyError, ValueError) as error:
        raise ConfigError(f"the job's environment is incomplete: {error}", "start jobs through airloom.jobs") from None


def rank_began(folder: Path, rank: int) -> None:
    """Write down which process is this rank, so that the others can tell when it is dead."""
    _write_rank(folder, rank, ended=False)


def rank_ended(folder: Path, rank: int, error: BaseException | None = None) -> None:
    """Write down how this rank ended; its first failure stays, as later errors follow from it.

    Call it before the connections to the other ranks close: they fail then, and look for who was first.
    """
    if error is not None:
        cause = Failure.of(error).to_dict()
        stopped = isinstance(error, StoppedByRequest)
        results.write_rank_failure(folder, RankFailure(**cause, rank=rank, time=time.time(), stopped=stopped))
    _write_rank(folder, rank, ended=True)


def first_failure(folder: Path, rank: int, patience: float = PATIENCE) -> RankFailure | None:
    """The failure of the rank that failed before this one; None where this one was the first.

    Args:
        folder: of the attempt.
        rank: this one.
        patience: seconds to wait for the others.
    """
    end = time.monotonic() + patience
    own = results.read_rank_failure(folder, rank)
    before = own.time if own else time.time()
    while True:
        ranks = [int(path.stem.removeprefix("rank")) for path in folder.glob("rank*.json")]
        for number in sorted(ranks):
            if number != rank and (death := _death(folder, number)):
                return death
        earlier = [f for f in results.rank_failures(folder) if f.rank != rank and f.time < before]
        if earlier:
            return earlier[0]
        if all(_has_ended(folder, number) for number in ranks) or time.monotonic() > end:
            return None
        time.sleep(0.05)


def _death(folder: Path, rank: int) -> RankFailure | None:
    """The failure of a rank that died without one of its own."""
    process = files.read(_rank_file(folder, rank))
    if process is None or process["ended"] or _alive(process["pid"]) or _has_ended(folder, rank):
        return None
    message = f"rank {rank} (process {process['pid']}) died without an error of its own"
    hint = "killed, out of memory, or crashed in native code; the log may say more"
    return RankFailure(message, hint, "RankDied", rank, time.time())


def _has_ended(folder: Path, rank: int) -> bool:
    return bool((files.read(_rank_file(folder, rank)) or {}).get("ended"))


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _write_rank(folder: Path, rank: int, *, ended: bool) -> None:
    files.write(_rank_file(folder, rank), {"pid": os.getpid(), "ended": ended})


def _rank_file(folder: Path, rank: int) -> Path:
    return folder / f"rank{rank}.json"
