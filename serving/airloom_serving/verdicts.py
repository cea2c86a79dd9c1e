"""Whether a model may be loaded by the server: asked of a warm checker process once, and kept by digest."""

import hashlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from importlib import metadata
from pathlib import Path

from airloom.errors import AirloomError
from airloom.files import write_private
from airloom.tracking.artifacts import GOLDEN, ONNX, PROCESSING

FORM = 1  # raised when a check looks at more than before
MEMORY = 512 * 2**20  # bytes that any model may take, and
FACTOR = 8  # times the bytes of its files
SECONDS = 20.0  # of computing
PATIENCE = 120.0  # seconds by the clock: of a machine with much else to do


class Refused(AirloomError):
    """A checker could not load the model within its limits, or its golden answers differ."""


class Checkers:
    """Checker processes: one is kept warm; where it is busy another one starts, so that no model waits for another.

    Args:
        folder: where verdicts are kept.
        seconds: of computing that a check may take.
        patience: seconds by the clock that it may take.
    """

    def __init__(self, folder: Path, seconds: float = SECONDS, patience: float = PATIENCE) -> None:
        self._folder, self._seconds, self._patience = folder, seconds, patience
        self._warm: queue.SimpleQueue[Checker] = queue.SimpleQueue()
        self._all: set[Checker] = set()
        self._lock = threading.Lock()
        self._closed = False

    def warm_up(self) -> None:
        """Start a process before it is needed."""
        self._warm.put(self._begin())

    def close(self) -> None:
        """End all processes; a check that is on its way fails."""
        with self._lock:
            self._closed = True
            ending, self._all = self._all, set()
        for checker in ending:
            checker.end()

    def judge(self, name: str, version: str, folder: Path, digests: dict[str, str]) -> None:
        """Return when a checker has loaded the model, now or at an earlier time.

        Raises:
            Refused: it could not.
        """
        verdict = self._folder / f"{_key(digests)}.json"
        if verdict.is_file():
            return
        size = sum((folder / file).stat().st_size for file in (ONNX, GOLDEN, PROCESSING) if file in digests)
        order: dict[str, object] = {"name": name, "version": version, "folder": str(folder), "digests": digests}
        order |= {"memory": MEMORY + FACTOR * size, "seconds": self._seconds}
        checker = self._take()
        problem = checker.ask(order, self._patience)
        if checker.alive and self._warm.empty():
            self._warm.put(checker)
        else:
            with self._lock:
                self._all.discard(checker)
            checker.end()
        if problem:
            raise Refused(f"the check of it failed: {problem}", "register a model that its own golden answers fit")
        write_private(verdict, json.dumps({"name": name, "version": version}))

    def _take(self) -> "Checker":
        while True:
            try:
                checker = self._warm.get_nowait()
            except queue.Empty:
                return self._begin()
            if checker.alive:
                return checker

    def _begin(self) -> "Checker":
        with self._lock:
            if self._closed:
                raise Refused("the server is about to end", "start it again")
            checker = Checker(self._seconds)
            self._all.add(checker)
        return checker


class Checker:
    """One process of `airloom_serving.checker`."""

    def __init__(self, seconds: float) -> None:
        # Neither tokens nor addresses: what it loads is not trusted.
        kept = ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "AIRLOOM_STACK_HOME")
        environment = {name: os.environ[name] for name in kept if name in os.environ}
        self._seconds = seconds
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "airloom_serving.checker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment | {"OMP_NUM_THREADS": "1"},
        )

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return self._process.poll() is None

    def ask(self, order: dict[str, object], patience: float) -> str:
        """What it finds wrong; empty where nothing is. It is dead after a check that it could not end."""
        assert self._process.stdin is not None and self._process.stdout is not None  # noqa: S101 - pipes, see above
        timer = threading.Timer(patience, self._process.kill)
        timer.start()
        try:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except (BrokenPipeError, ValueError):  # it died before, or was ended by `close`
            answer = ""
        finally:
            timer.cancel()
        if answer:
            return str(json.loads(answer)["problem"])
        code = self._process.wait()
        if code == -signal.SIGXCPU:
            return f"it computed for more than {self._seconds:g} s"
        if code == -signal.SIGKILL:
            return f"it took more than {patience:g} s, or more memory than there is"
        return f"the process that loaded it ended with {code}"

    def end(self) -> None:
        """Kill it."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


def _key(digests: dict[str, str]) -> str:
    """What a verdict is about: the files that are parsed, and what parses them."""
    files = [digests.get(file, "") for file in (ONNX, GOLDEN, PROCESSING)]
    return hashlib.sha256(json.dumps([FORM, metadata.version("onnxruntime"), *files]).encode()).hexdigest()
