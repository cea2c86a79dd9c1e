"""`python -m airloom_serving.checker`: loads models and compares their golden answers, in a process that may die of it.

An ONNX file says what is computed, for how long and in how much memory; neither can be known without trying. A line of
JSON asks, a line of JSON answers. The process is kept warm between checks, and writes no files.
"""

import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

from airloom.errors import AirloomError
from airloom.inference.model import LoadedModel
from airloom.jobs.sandbox import confine


def main() -> None:
    """Answer until standard input ends."""
    import onnxruntime

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    confine(())
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    onnxruntime.set_default_logger_severity(4)
    for line in sys.stdin:
        answers.write(json.dumps({"problem": check(**json.loads(line))}) + "\n")
        answers.flush()


def check(name: str, version: str, folder: str, digests: dict[str, str], memory: int, seconds: float) -> str:
    """What is wrong with a model; empty where nothing is.

    Args:
        name: of the registered model.
        version: its number.
        folder: with its files.
        digests: of them.
        memory: bytes that it may take beyond what this process has.
        seconds: of computing; beyond them the kernel ends the process.
    """
    own = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    _limit(resource.RLIMIT_AS, own + memory)
    used = resource.getrusage(resource.RUSAGE_SELF)
    _limit(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime + seconds) + 1)
    try:
        LoadedModel.load(name, version, Path(folder), digests)
    except AirloomError as error:
        return str(error)
    except Exception as error:  # onnxruntime and numpy have no common base of their errors
        if isinstance(error, MemoryError) or "alloc" in str(error).lower():
            return f"it takes more than {memory // 2**20} MB of memory to load and to answer its example"
        return f"{type(error).__name__}: {str(error)[:300]}"
    finally:
        _limit(resource.RLIMIT_AS, resource.RLIM_INFINITY)
    return ""


def _limit(which: int, value: Any) -> None:
    _, hard = resource.getrlimit(which)
    resource.setrlimit(which, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


if __name__ == "__main__":
    main()
