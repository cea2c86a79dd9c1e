"""The steps that jobs.py has run as jobs."""

import fcntl
import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def third_time() -> dict[str, Any]:
    """The first attempt raises, the second is killed, the third goes well; each leaves a line in the kept state."""
    path = Path(os.environ["AIRLOOM_JOB_STATE"]) / "lines"
    with path.open("a") as file:
        file.write(f"attempt {os.environ['AIRLOOM_JOB_ATTEMPT']}\n")
    lines = path.read_text().splitlines()
    if len(lines) == 1:
        raise ValueError("the first time never works")
    if len(lines) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return {"state": lines}


def alone(path: str, seconds: float = 1.0) -> dict[str, Any]:
    """Write down that it ran, and whether another one runs at the same time."""
    with Path(path).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.write("overlap\n")
        file.write("ran\n")
        file.flush()
        time.sleep(seconds)
    return {}


def lines(count: int) -> dict[str, Any]:
    """Print a line now and then."""
    for number in range(count):
        print(f"line {number} of {count}")
        time.sleep(0.5)
    return {"lines": count}


def sleep(seconds: float) -> dict[str, Any]:
    """Do nothing for long, with a child that does nothing either."""
    subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({seconds})"])
    time.sleep(seconds)
    return {}


def hog(megabytes: int) -> dict[str, Any]:
    """Use memory."""
    kept = b"".join(os.urandom(2**20) for _ in range(megabytes))
    time.sleep(30)
    return {"kept": len(kept)}


def listing() -> list[str]:
    """A step returns a mapping; this is none."""
    return ["no", "mapping"]


def look() -> dict[str, Any]:
    """What a job sees of itself."""
    descriptors = {}
    for path in Path("/proc/self/fd").iterdir():
        try:
            descriptors[path.name] = str(path.readlink())
        except OSError:  # the one that lists them
            continue
    return {
        "pid": os.getpid(),
        "session": os.getsid(0),
        "group": os.getpgrp(),
        "descriptors": descriptors,
        "cpus": len(os.sched_getaffinity(0)),
        "variables": sorted(os.environ),
        "token": hashlib.sha256(os.environ.get("API_TOKEN", "").encode()).hexdigest(),
        "cuda": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "threads": os.environ.get("OMP_NUM_THREADS"),
    }


def where() -> dict[str, Any]:
    """Which environment it runs in, and whether Airflow is there."""
    import importlib.util

    import torch

    return {
        "prefix": sys.prefix,
        "airflow": importlib.util.find_spec("airflow") is not None,
        "torch": torch.__version__,
    }


def hold(path: str, seconds: float) -> dict[str, Any]:
    """Write down which devices it has, from when to when."""
    mine, me = os.environ["AIRLOOM_JOB_DEVICES"], os.getpid()
    for kind in ("start", "end"):
        with Path(path).open("a") as file:
            file.write("".join(f"{kind} {name} {time.time()} {me}\n" for name in mine.split(",")))
        time.sleep(seconds if kind == "start" else 0)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ",".join(name.rpartition(":")[2] for name in mine.split(","))
    return {}


def leave(path: str) -> dict[str, Any]:
    """End, and leave behind a daemon, a child in a session of its own without environment, and a deaf one."""
    code = "import os, signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(120)"
    left = [
        subprocess.Popen([sys.executable, "-c", code]).pid,
        subprocess.Popen([sys.executable, "-c", code], env={}, start_new_session=True, close_fds=False).pid,
    ]
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            with Path(path).open("w") as file:
                file.write(str(os.getpid()))
            os.closerange(0, 256)
            time.sleep(120)
        os._exit(0)
    while not (Path(path).exists() and Path(path).read_text()):
        time.sleep(0.05)
    return {"left": [*left, int(Path(path).read_text())]}
