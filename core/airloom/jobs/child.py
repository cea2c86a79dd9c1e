"""The child process of a job: `python -m airloom.jobs.child FOLDER [LOCK]`.

LOCK is the inherited descriptor of the key's lock; without it the child locks the key itself.
"""

import importlib
import json
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

from airloom.errors import AirloomError
from airloom.jobs import files


def main(arguments: list[str]) -> int:
    """Run the step that the folder's spec names; 0 when it ended well."""
    folder = Path(arguments[0])
    lock = int(arguments[1]) if len(arguments) > 1 else files.try_lock(folder.parent)
    if lock is None:
        print(f"a job of this key is running already: {folder.parent}", file=sys.stderr)
        return 3
    os.set_inheritable(lock, False)  # what the step starts must not keep the key locked
    files.write(folder / files.PROCESS, {"pid": os.getpid(), "started": time.time()})
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    result = run(files.read(folder / files.SPEC) or {})
    files.write(folder / files.RESULT, result)
    return 0 if result["ok"] else 1


def run(spec: dict[str, Any]) -> dict[str, Any]:
    """Call `spec["step"]` with `spec["arguments"]`; an error becomes a result, its traceback goes to the log."""
    try:
        module, name = spec["step"].split(":")
        value = getattr(importlib.import_module(module), name)(**spec["arguments"])
        json.dumps(value)  # fails here, where the error still gets a result
        return {"ok": True, "value": value}
    except Exception as error:
        logging.getLogger(__name__).exception("the step failed")
        ours = isinstance(error, AirloomError)
        message = error.message if isinstance(error, AirloomError) else f"{type(error).__name__}: {error}"
        hint = error.hint if isinstance(error, AirloomError) else "the log has the traceback"
        return {"ok": False, "error": message, "hint": hint, "type": type(error).__name__, "expected": ours}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
