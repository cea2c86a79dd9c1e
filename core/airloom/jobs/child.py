"""The child process of a job: `python -m airloom.jobs.child FOLDER [LOCK]`.

LOCK is the inherited descriptor of the key's lock; without it the child locks the key itself. Under torchrun each rank
is such a child: rank 0 holds the lock and writes the result, an error of a rank stands in `error-rank<R>.json`.
"""

import importlib
import json
import logging
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

from airloom.errors import StoppedByRequest
from airloom.jobs import context, files


def main(arguments: list[str]) -> int:
    """Run the step that the folder's spec names; 0 when it ended well."""
    folder, rank = Path(arguments[0]), int(os.environ.get("RANK", 0))
    if rank == 0:
        lock = int(arguments[1]) if len(arguments) > 1 else files.try_lock(folder.parent)
        if lock is None:
            print(f"a job of this key is running already: {folder.parent}", file=sys.stderr)
            return 3
        os.set_inheritable(lock, False)  # what the step starts must not keep the key locked
        files.write(folder / files.PROCESS, {"pid": os.getpid(), "started": time.time()})
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    signal.signal(signal.SIGTERM, _stop)
    context.rank_began(folder, rank)
    result = run(files.read(folder / files.SPEC) or {}, folder, rank)
    if rank == 0:
        files.write(folder / files.RESULT, result)
    return 0 if result["ok"] else 1


def run(spec: dict[str, Any], folder: Path, rank: int) -> dict[str, Any]:
    """Call `spec["step"]` with `spec["arguments"]`; an error becomes a result, its traceback goes to the log."""
    try:
        module, name = spec["step"].split(":")
        value = getattr(importlib.import_module(module), name)(**spec["arguments"])
        json.dumps(value)  # fails here, where the error still gets a result
        context.rank_ended(folder, rank)
        return {"ok": True, "value": value}
    except Exception as error:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun ends the ranks that are left; the result comes first
        context.rank_ended(folder, rank, error)
        stopped = isinstance(error, StoppedByRequest)
        if stopped:
            logging.getLogger(__name__).info("%s", error)
        else:
            logging.getLogger(__name__).exception("the step failed")
        several = int(os.environ.get("WORLD_SIZE", 1)) > 1
        cause = context.first_failure(folder, rank, 0 if stopped else context.PATIENCE) if several else None
        if cause is None:
            return {"ok": False, "stopped": stopped, **context.explain(error)}
        return {"ok": False, "stopped": False, **cause, "error": f"rank {cause['rank']} failed first: {cause['error']}"}


def _stop(_signal: int, _frame: FrameType | None) -> None:
    """SIGTERM: end soon. While it trains, the training saves first, with a handler of its own."""
    raise StoppedByRequest("stopped on request", "the next attempt goes on, or does the step again")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
