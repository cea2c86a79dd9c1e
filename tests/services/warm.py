"""Processes that start warm: jobs and commands import torch, MLflow and more for seconds each, and work for tenths.

One process imports it all once and forks. Where its folder is in PYTHONPATH, Python finds `sitecustomize` there: each
process of a kind that it lists, by whomever it was started, hands its arguments, environment and descriptors to a fork
and is its stand-in from then on. It passes signals on, ends as the fork ended, and takes it along when it is killed.
The code that runs is the same. Not for tests of the process itself: of what it imports, may write, uses, or leaves.
"""

import contextlib
import gc
import importlib
import json
import logging
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

LARGEST = 2**20  # bytes of a request: an environment
HOLD = b"hold"
STARTED: list["subprocess.Popen[bytes]"] = []  # never waited for: others may hold them longer
# What jobs of a pipeline import, by cost; and what brings the most of Airloom's own modules.
LIBRARIES = (
    *("torch", "torch._dynamo", "torch.optim", "torch.onnx", "torch.export", "mlflow", "mlflow.tracking"),
    *("mlflow.pytorch", "optuna", "optuna.storages", "great_expectations", "great_expectations.render.view"),
    *("onnx", "onnxscript", "onnxruntime", "matplotlib.figure", "scipy.stats", "sklearn.metrics", "pandas"),
    *("pyarrow.parquet", "pyarrow.csv", "pyarrow.compute", "dvc.repo", "pygit2", "httpx", "yaml", "psutil"),
    *("sqlalchemy.orm", "sqlalchemy.dialects.sqlite", "filelock", "PIL.Image"),
    *("airloom.pipeline.run", "airloom.training.train", "airloom.evaluation.evaluate", "airloom.cli.main"),
)


class Warm:
    """A process that forks, and the folder that leads to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def path(self) -> str:
        """PYTHONPATH of who starts warm, before what stands there now."""
        return os.pathsep.join(filter(None, (str(self.folder), os.environ.get("PYTHONPATH", ""))))

    @contextlib.contextmanager
    def starts(self) -> Iterator[None]:
        """What this process starts in the block, and what that starts, starts warm."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTHONPATH", self.path)
            yield


@contextlib.contextmanager
def warm(shared: Path) -> Iterator[Warm]:
    """The warm process of all who name this folder, until the last of them leaves; it imports when the first comes."""
    shared.mkdir(parents=True, exist_ok=True)
    place = shared / "place"
    with FileLock(shared / "lock"):
        channel = _hold(place)
        if channel is None:
            place.write_text(_begin())
            channel = _hold(place)
    assert channel, "it ended at once"
    with channel:
        yield Warm(Path(place.read_text()))


def _hold(place: Path) -> socket.socket | None:
    """A connection that keeps the process; None where there is none."""
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        channel.connect(str(Path(place.read_text()) / "socket"))
        channel.send(HOLD)
        assert channel.recv(64) == HOLD
    except (OSError, AssertionError):  # it has ended, or is about to
        channel.close()
        return None
    return channel


def _begin() -> str:
    """Start the process; its folder, which has a short name for the sake of the socket's."""
    folder = tempfile.mkdtemp(prefix="airloom-warm-")
    shutil.copy(Path(__file__).with_name("warm_start") / "sitecustomize.py", folder)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-P", __file__, folder]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=environment)
    assert process.stdout and process.stdout.readline() == b"warm\n"
    process.stdout.close()
    STARTED.append(process)
    return folder


def _serve(folder: Path) -> None:
    """Fork for each who connects, until nobody holds it any more."""
    for name in LIBRARIES:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(str(folder / "socket"))
    listener.listen(64)
    print("warm", flush=True)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    looking, waiting, holders = select.poll(), dict[int, _Fork](), dict[int, socket.socket]()  # by descriptor
    looking.register(listener, select.POLLIN)
    while True:
        for ready, _ in looking.poll():
            if ready == listener.fileno():
                channel = listener.accept()[0]
                data, descriptors, _, _ = socket.recv_fds(channel, LARGEST, 250)
                if data == HOLD:
                    channel.send(HOLD)
                    holders[channel.fileno()] = channel
                    looking.register(channel, select.POLLIN)
                elif data:
                    further = [listener, *holders.values(), *{fork.channel for fork in waiting.values()}]
                    fork = _Fork.of(channel, json.loads(data), list(descriptors), further)
                    for number in (fork.ended, channel.fileno()):
                        waiting[number] = fork
                        looking.register(number, select.POLLIN)
                else:
                    channel.close()
            elif ready in holders:
                looking.unregister(ready)
                holders.pop(ready).close()
                if not holders:
                    for fork in set(waiting.values()):
                        fork.kill()
                    shutil.rmtree(folder)
                    return
            elif ready in waiting:
                fork = waiting[ready]
                if ready != fork.ended:
                    fork.kill()  # the stand-in was killed
                for number in (fork.ended, fork.channel.fileno()):
                    del waiting[number]
                    looking.unregister(number)
                fork.end()


class _Fork:
    """A fork, and the connection to its stand-in."""

    def __init__(self, pid: int, channel: socket.socket) -> None:
        self.pid, self.channel, self.ended = pid, channel, os.pidfd_open(pid)

    @classmethod
    def of(
        cls, channel: socket.socket, request: dict[str, Any], descriptors: list[int], further: list[socket.socket]
    ) -> "_Fork":
        pid = os.fork()
        if pid == 0:
            for one in (channel, *further):
                one.close()
            _be(request, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        with contextlib.suppress(OSError):
            channel.send(str(pid).encode())
        return cls(pid, channel)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def end(self) -> None:
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        with contextlib.suppress(OSError):
            self.channel.send(str(code).encode())
        self.channel.close()
        os.close(self.ended)


def _be(request: dict[str, Any], descriptors: list[int]) -> None:
    """Be the process that was asked for; never returns."""
    import atexit
    import runpy
    import traceback
    import warnings

    code: Any = 0
    try:
        os.setsid()
        _take(request["numbers"], descriptors)
        os.environ.clear()
        os.environ.update(request["environment"])
        os.chdir(request["folder"])
        os.sched_setaffinity(0, request["cpus"])
        _threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
        kind, what, *words = request["words"]
        if what == "airloom.tuning.worker.trial":
            words = [*words[:-1], str(os.getppid())]  # whose end it ends with
        logging.root.handlers.clear()  # some import made one; a job makes its own
        sys.argv = [what if kind == "-m" else kind, *words]
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(write_through="PYTHONUNBUFFERED" in os.environ)
        warnings.filterwarnings("ignore", ".* found in sys.modules", RuntimeWarning, "runpy")
        there = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        first = [request["folder"]] if request["here"] else []
        sys.path[:] = [*first, *filter(None, there), *sys.path]
        if kind == "-m":
            runpy.run_module(what, run_name="__main__", alter_sys=True)
        else:
            exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})  # noqa: S102 - as `python -c` does
    except SystemExit as error:
        code = error.code
        if isinstance(code, str):
            print(code, file=sys.stderr)
            code = 1
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        threading._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code or 0)


def _take(numbers: list[int], descriptors: list[int]) -> None:
    """Have the descriptors under the numbers that they had in the stand-in."""
    import fcntl

    above = max([*numbers, *descriptors, 2]) + 1
    moved = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, above) for descriptor in descriptors]
    os.closerange(3, above)
    for number, descriptor in zip(numbers, moved, strict=True):
        os.dup2(descriptor, number)
        os.close(descriptor)


def _threads(number: int) -> None:
    import torch

    torch.set_num_threads(number)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
