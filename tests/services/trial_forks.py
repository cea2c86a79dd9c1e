"""Trial processes that are forked: to start one takes seconds, nearly all of them for the import of torch.

One process imports what a trial process imports, and forks one for each request, in a session of its own and with the
pipes that the worker made. From there on it runs the same code. `Forks.start` stands in for `subprocess.Popen`.
"""

import array
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

LARGEST = 2**20  # bytes of a message: an environment


class Forked:
    """A process that another one forked, with what the worker uses of a `subprocess.Popen`."""

    def __init__(self, pid: int, forks: "Forks") -> None:
        self.pid, self._forks = pid, forks
        self._ended = os.pidfd_open(pid)
        self._code: int | None = None

    def poll(self) -> int | None:
        """Its exit code; None while it lives."""
        return self._code_within(0)

    def wait(self) -> int:
        """Its exit code, when it ended."""
        code = self._code_within(None)
        assert code is not None
        return code

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, unless it ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def _over(self, seconds: float | None) -> bool:
        ready = select.poll()  # select takes no descriptor beyond 1023
        ready.register(self._ended, select.POLLIN)
        return bool(ready.poll(None if seconds is None else 1000 * seconds))

    def _code_within(self, seconds: float | None) -> int | None:
        if self._code is None and self._over(seconds):
            self._code = self._forks.ask({"ended": self.pid})
            os.close(self._ended)
        return self._code


class Forks:
    """The process that forks; it ends with the connection to it."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel, self._lock = channel, threading.Lock()

    def start(
        self, words: Sequence[str], *, env: dict[str, str], pass_fds: Sequence[int], start_new_session: bool
    ) -> Forked:
        """As `subprocess.Popen` does it for `python -P -m airloom.tuning.worker.trial IN OUT PARENT`."""
        assert start_new_session and list(map(str, pass_fds)) == list(words[-3:-1])
        return Forked(self.ask({"environment": env}, pass_fds), self)

    def ask(self, request: dict[str, Any], descriptors: Sequence[int] = ()) -> int:
        """A number for an answer."""
        with self._lock:
            socket.send_fds(self._channel, [json.dumps(request).encode()], list(descriptors))
            return int(self._channel.recv(LARGEST))


@contextmanager
def forks() -> Iterator[Forks]:
    """A process that forks trial processes, until the block ends."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, "-P", __file__, str(theirs.fileno())]
    with ours, subprocess.Popen(command, pass_fds=[theirs.fileno()]) as process:
        theirs.close()
        yield Forks(ours)
        ours.close()
        process.wait()


def _serve(channel: socket.socket) -> None:
    from airloom.project import functions, watch  # noqa: F401 - with what follows, all that a trial process imports
    from airloom.training import command, source  # noqa: F401
    from airloom.training.execute import deterministic

    deterministic()
    gc.freeze()
    while True:
        data, descriptors, _, _ = socket.recv_fds(channel, LARGEST, 2)
        if not data:
            return
        request = json.loads(data)
        if "ended" in request:
            channel.send(str(os.waitstatus_to_exitcode(os.waitpid(request["ended"], 0)[1])).encode())
        elif os.fork() == 0:
            _run(channel, request["environment"], descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _run(channel: socket.socket, environment: dict[str, str], pipes: array.array | list[int]) -> None:
    """Be a trial process; never returns."""
    from airloom.tuning.worker import trial

    code: Any = 1
    try:
        os.setsid()
        channel.send(str(os.getpid()).encode())
        channel.close()
        os.environ.clear()
        os.environ.update(environment)
        _threads(int(environment["OMP_NUM_THREADS"]))
        sys.argv = ["trial", *map(str, pipes), str(os.getppid())]  # what a started one would have
        code = trial.main(sys.argv[1:])
    except SystemExit as error:
        code = error.code or 0
    finally:
        sys.stdout.flush()
        os._exit(code)


def _threads(number: int) -> None:
    import torch

    torch.set_num_threads(number)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
