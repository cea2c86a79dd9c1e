"""The process of a step: `python -m airloom.jobs.child FOLDER`; under torchrun, one for each rank."""

import importlib
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

from airloom.errors import AirloomError
from airloom.jobs import files
from airloom.jobs.spec import PROTOCOL


def main(arguments: list[str]) -> int:
    """Run the step that the attempt's folder names; 0 when it ended well."""
    folder, rank = Path(arguments[0]), int(os.environ.get("RANK", "0"))
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    launch = files.read(folder / files.LAUNCH) or {}
    result = run(launch["spec"], launch.get("protocol", PROTOCOL))
    if rank == 0:
        files.write(folder / files.RESULT, result)
    elif not result["ok"]:
        files.write(folder / f"error-rank{rank}.json", result)
    return 0 if result["ok"] else 1


def run(spec: dict[str, Any], protocol: int) -> dict[str, Any]:
    """Call `spec["step"]` with `spec["arguments"]`; an error becomes a result, its traceback goes to the log."""
    try:
        if protocol != PROTOCOL:
            message = f"this interpreter's airloom speaks protocol {PROTOCOL} of jobs, the submitter's {protocol}"
            raise AirloomError(message, f"install the same airloom for {sys.executable}")
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
