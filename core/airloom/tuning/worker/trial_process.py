"""The worker's side of a trial process: start it, exchange messages with it, end it with all that it started."""

import contextlib
import os
import select
import signal
import subprocess
import sys

from airloom.contracts import Record
from airloom.jobs import processes
from airloom.tuning.worker import messages, trial

_BLOCK = 65_536


class Died(Exception):
    """The process ended without a message about it; `code` as of `subprocess`: negative for a signal."""

    def __init__(self, code: int) -> None:
        super().__init__(processes.how(code))
        self.code = code


class TrialProcess:
    """A warm process that runs one trial at a time.

    Attributes:
        pid: of the process.

    Args:
        setup: what all trials share.
        threads: CPU threads of the process.
    """

    def __init__(self, setup: messages.Setup, threads: int) -> None:
        its_input, self._input = os.pipe()
        self._output, its_output = os.pipe()
        names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
        words = [str(number) for number in (its_input, its_output, os.getpid())]
        try:
            # A session of its own, so that what it starts ends with it. Standard input passes the job's lock on.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", trial.__name__, *words],
                env={**os.environ, **dict.fromkeys(names, str(threads))},
                pass_fds=(its_input, its_output),
                start_new_session=True,
            )
        finally:
            os.close(its_input)
            os.close(its_output)
        self.pid = self._process.pid
        self._ready = select.poll()  # select takes no descriptor beyond 1023, and a worker may have many files open
        self._ready.register(self._output, select.POLLIN)
        self._buffer = b""
        self.send(setup)

    def send(self, message: Record) -> None:
        """Send a message; a process that is gone shows when the next one is received."""
        data = memoryview(messages.encode(message))
        with contextlib.suppress(BrokenPipeError):
            while data:
                data = data[os.write(self._input, data) :]

    def receive(self, seconds: float) -> Record | None:
        """The next message; None where none comes in time.

        Raises:
            Died: the process is gone.
            BrokenMessage: it sent what is no message.
        """
        while b"\n" not in self._buffer:
            if not self._ready.poll(1000 * seconds):
                return None
            block = os.read(self._output, _BLOCK)
            if not block:
                raise Died(self._process.wait())
            self._buffer += block
        line, _, self._buffer = self._buffer.partition(b"\n")
        return messages.decode(line)

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
        for descriptor in (self._input, self._output):
            with contextlib.suppress(OSError):
                os.close(descriptor)
