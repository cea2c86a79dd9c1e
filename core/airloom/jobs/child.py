"""The process of a step: `python -m airloom.jobs.child FOLDER`; under torchrun, one for each rank.

Rank 0 writes the result; an error of a rank stands in `error-rank<R>.json`.
"""

import importlib
import json
import logging
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from airloom.errors import AirloomError, ConfigError, StoppedByRequest
from airloom.jobs import context, logs
from airloom.jobs.launch_record import read_launch
from airloom.jobs.results import Failure, JobResult, write_result
from airloom.jobs.spec import JobSpec


def main(arguments: list[str]) -> int:
    """Run the step that the attempt's folder names; 0 when it ended well."""
    folder, rank = Path(arguments[0]), int(os.environ.get("RANK", 0))
    logs.configure()
    signal.signal(signal.SIGTERM, _stop)
    context.rank_began(folder, rank)
    result = run(folder, rank)
    if rank == 0:
        write_result(folder, result)
    return 0 if result.ok else 1


def run(folder: Path, rank: int) -> JobResult:
    """Call the step of an attempt with its arguments; an error becomes a result, and its traceback goes to the log."""
    try:
        value = _call(read_launch(folder).spec)
        context.rank_ended(folder, rank)
        return JobResult(ok=True, value=value)
    except Exception as error:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun ends the ranks that are left; the result comes first
        context.rank_ended(folder, rank, error)
        stopped = isinstance(error, StoppedByRequest)
        _log(error)
        several = int(os.environ.get("WORLD_SIZE", 1)) > 1
        cause = context.first_failure(folder, rank, 0 if stopped else context.PATIENCE) if several else None
        if cause is None:
            return JobResult(ok=False, failure=Failure.of(error), stopped=stopped)
        return JobResult(ok=False, failure=cause.with_(error=f"rank {cause.rank} failed first: {cause.error}"))


def _call(spec: JobSpec) -> dict[str, Any]:
    module, name = spec.step.split(":")
    value = getattr(importlib.import_module(module), name)(**spec.arguments) or {}
    if not isinstance(value, dict):
        raise ConfigError(f"{spec.step} returned a {type(value).__name__}", "a step returns a dict of JSON")
    json.dumps(value)  # fails here, where the error still gets a result
    return value


def _log(error: Exception) -> None:
    """Log the message of an expected error, and of any other the traceback."""
    log = logging.getLogger(__name__)
    if isinstance(error, StoppedByRequest):
        log.info("%s", error)
    elif isinstance(error, AirloomError):
        log.error("the step failed: %s", error)
    else:
        log.exception("the step failed")


def _stop(_signal: int, _frame: FrameType | None) -> None:
    """End soon after SIGTERM. While it trains, the training saves first, with a handler of its own."""
    raise StoppedByRequest("stopped on request", "the next attempt goes on, or does the step again")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
