"""What a process knows of the job that it belongs to; the supervisor sets the variables read here."""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from airloom.errors import AirloomError, ConfigError, StoppedByRequest
from airloom.files import write_private

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
    """Say which process is this rank, so that the others can tell when it is dead."""
    write_private(folder / f"rank{rank}.json", json.dumps({"pid": os.getpid(), "ended": False}))


def rank_ended(folder: Path, rank: int, error: BaseException | None = None) -> None:
    """Say how this rank ended; what was said first stays, as later errors follow from it.

    Call it before the connections to the other ranks close: they fail then, and look for who was first.
    """
    path = folder / f"error-rank{rank}.json"
    if error is not None and not path.exists():
        stopped = isinstance(error, StoppedByRequest)
        values = {"rank": rank, "time": time.time(), "stopped": stopped, **explain(error)}
        write_private(path, json.dumps(values))
    write_private(folder / f"rank{rank}.json", json.dumps({"pid": os.getpid(), "ended": True}))


def first_failure(folder: Path, rank: int, patience: float = PATIENCE) -> dict[str, Any] | None:
    """The rank that failed before this one: `rank`, `error`, `hint`, `type`; None where this one was the first."""
    end = time.monotonic() + patience
    own = _read(folder / f"error-rank{rank}.json") or {"time": time.time()}
    while True:
        for path in sorted(folder.glob("rank*.json")):
            other = int(path.stem.removeprefix("rank"))
            if other != rank and (died := _died(path, other)):
                return died
        errors = [found for path in folder.glob("error-rank*.json") if (found := _read(path))]
        earlier = [e for e in errors if e["rank"] != rank and e["time"] < own["time"] and not e["stopped"]]
        if earlier:
            return min(earlier, key=lambda error: float(error["time"]))
        ended = [bool((_read(path) or {}).get("ended")) for path in folder.glob("rank*.json")]
        if all(ended) or time.monotonic() > end:
            return None
        time.sleep(0.05)


def explain(error: BaseException) -> dict[str, Any]:
    """An error as JSON: `error`, `hint`, `type`, and whether it was `expected`."""
    ours = isinstance(error, AirloomError)
    message = error.message if isinstance(error, AirloomError) else f"{type(error).__name__}: {error}"
    hint = error.hint if isinstance(error, AirloomError) else "the log has the traceback"
    return {"error": message, "hint": hint, "type": type(error).__name__, "expected": ours}


def _died(path: Path, rank: int) -> dict[str, Any] | None:
    process = _read(path)
    if process is None or process["ended"] or _alive(process["pid"]) or (_read(path) or process)["ended"]:
        return None
    message = f"rank {rank} (process {process['pid']}) died without an error of its own"
    hint = "killed, out of memory, or crashed in native code; the log may say more"
    return {"rank": rank, "error": message, "hint": hint, "type": "RankDied", "expected": True}


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
