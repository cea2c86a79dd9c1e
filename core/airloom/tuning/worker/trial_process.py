"""The worker's side of a trial process: start it, talk to it in JSON lines, end it with all that it started."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from typing import Any

from airloom.jobs import processes
from airloom.tuning.worker import trial

_BLOCK = 65_536


class Died(Exception):
    """The process ended without saying how; `code` as of `subprocess`: negative for a signal."""

    def __init__(self, code: int) -> None:
        super().__init__(processes.how(code))
        self.code = code


class TrialProcess:
    """A warm process that runs one trial at a time.

    Attributes:
        pid: of the process.

    Args:
        setup: what all trials share; see `airloom.tuning.worker.trial.Trainer`.
        threads: CPU threads of the process.
    """

    def __init__(self, setup: dict[str, Any], threads: int) -> None:
        asked_read, self._asked = os.pipe()
        self._told, told_write = os.pipe()
        names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
        words = [str(number) for number in (asked_read, told_write, os.getpid())]
        try:
            # A session of its own, so that what it starts ends with it. Standard input passes the job's lock on.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", trial.__name__, *words],
                env={**os.environ, **dict.fromkeys(names, str(threads))},
                pass_fds=(asked_read, told_write),
                start_new_session=True,
            )
        finally:
            os.close(asked_read)
            os.close(told_write)
        self.pid = self._process.pid
        self._buffer = b""
        self.tell(setup)

    def tell(self, message: dict[str, Any]) -> None:
        """Send a message; a process that is gone shows when the next one is asked for."""
        data = memoryview(json.dumps(message).encode() + b"\n")
        with contextlib.suppress(BrokenPipeError):
            while data:
                data = data[os.write(self._asked, data) :]

    def next(self, seconds: float) -> dict[str, Any] | None:
        """The next message; None where none comes in time.

        Raises:
            Died: the process is gone.
        """
        while b"\n" not in self._buffer:
            if not select.select([self._told], [], [], seconds)[0]:
                return None
            block = os.read(self._told, _BLOCK)
            if not block:
                raise Died(self._process.wait())
            self._buffer += block
        line, _, self._buffer = self._buffer.partition(b"\n")
        return dict(json.loads(line))

    @property
    def alive(self) -> bool:
        """Whether it still is there."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Ask it to save a checkpoint and end its trial. What it started itself is its affair."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)

    def usage(self) -> tuple[int, float]:
        """Memory in bytes and CPU seconds, with its children."""
        return processes.usage([self.pid, *processes.group(self.pid)])

    def end(self) -> None:
        """Kill it with everything in its session, and wait until it is gone."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        for descriptor in (self._asked, self._told):
            with contextlib.suppress(OSError):
                os.close(descriptor)
