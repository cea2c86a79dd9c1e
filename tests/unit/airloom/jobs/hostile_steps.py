"""Steps that misbehave in ways that a supervisor must survive; copied into the test's project."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path


def daemon(path, seconds):
    """A daemon by the book: two forks, a session of its own, every descriptor closed."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            Path(path).write_text(str(os.getpid()))
            os.closerange(0, 256)
            time.sleep(120)
        os._exit(0)
    time.sleep(seconds)
    return {}


def stranger(path, seconds):
    """A daemon that also left its environment behind: nothing but its parent tells whose it is."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            Path(path).write_text(str(os.getpid()))
            os.closerange(0, 256)
            os.execve(sys.executable, [sys.executable, "-c", "import time; time.sleep(120)"], {})  # noqa: S606
        os._exit(0)
    time.sleep(seconds)
    return {}


def nameless(path):
    """A child with an empty environment, in a session of its own, that keeps what it inherited."""
    child = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(120)"], env={}, start_new_session=True, close_fds=False
    )
    Path(path).write_text(str(child.pid))
    time.sleep(120)


def crowd(path, count, seconds=0):
    """Very many children, each of which ignores SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for _ in range(count):
        if os.fork() == 0:
            time.sleep(120)
            os._exit(0)
    Path(path).write_text("up")
    time.sleep(seconds)
    return {"children": count}


def comet(path):
    """A process that is another one each time somebody looks."""
    if os.fork() == 0:
        os.setsid()
        Path(path).write_text(str(os.getpid()))
        while os.fork() == 0:
            pass
        os._exit(0)
    time.sleep(1)
    return {}


def orphans(path, count):
    """Short-lived orphans, one after another; how many of them nobody has buried."""
    for _ in range(count):
        if os.fork() == 0:
            if os.fork() == 0:
                os._exit(0)
            os._exit(0)
        os.wait()
    time.sleep(1.5)
    zombies = 0
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            zombies += state == "Z" and int(parent) == os.getppid()
    return {"zombies": zombies}


def rid(path):
    """Remove the folder of this very attempt, as a careless clean-up does."""
    shutil.rmtree(os.environ["AIRLOOM_JOB_FOLDER"])
    time.sleep(1.5)
    return {"rid": True}


def nonsense(text, code=0):
    """Write the result oneself, and end without another word."""
    Path(os.environ["AIRLOOM_JOB_FOLDER"], "result.json").write_text(text)
    os._exit(code)


def listing():
    return ["no", "mapping"]


def helper(path):
    """A helper that ends at a SIGTERM, as the workers of a DataLoader do, is needed to save the checkpoint."""
    from airloom.errors import StoppedByRequest

    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"])
    Path(path).write_text("up")
    try:
        time.sleep(120)
    except StoppedByRequest:
        time.sleep(0.5)
        Path(path).write_text(f"helper ended: {child.poll()}")
        raise


def freeze(path):
    """Stand still, for ever."""
    Path(path).write_text("up")
    os.kill(os.getpid(), signal.SIGSTOP)


def eat(path, megabytes):
    """Eat memory step by step, deaf to SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    kept = []
    Path(path).write_text(str(os.getpid()))
    for _ in range(megabytes):
        kept.append(bytearray(os.urandom(2**20)))
        time.sleep(0.002)
    time.sleep(60)


def alone(path, seconds=0.3):
    """Say so where another process of this key works at the same time."""
    import fcntl

    with Path(path).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.write("overlap\n")
            file.flush()
        file.write("ran\n")
        file.flush()
        time.sleep(seconds)
    return {"ran": True}


def fill(folder):
    """Fill the disk of the state folder to its last byte, then go on."""
    with Path(folder, "filler").open("wb", buffering=0) as file:
        with contextlib.suppress(OSError):
            while True:
                file.write(bytes(2**16))
        with contextlib.suppress(OSError):
            while True:
                file.write(b"0")
    return {"full": True}
