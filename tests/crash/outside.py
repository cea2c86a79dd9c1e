"""Processes as an outsider sees them: found, stopped, killed, and asked what ended them."""

import contextlib
import fcntl
import os
import select
import signal
import struct
import time
from collections.abc import Iterator

import psutil

from airloom.settings import Settings
from airloom.stack import config, control

_GET_INFO, _EXIT = 0xC040FF0B, 1 << 3  # of Linux' pidfds since 6.15; other kernels keep it for the parent


class Gone(Exception):
    """The process is not there."""


class Victim:
    """One process, by a descriptor that no other process can take over."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        try:
            self._fd = os.pidfd_open(pid)
        except ProcessLookupError:
            raise Gone(f"process {pid}") from None

    def send(self, sign: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._fd, sign)

    def ended(self, seconds: float = 10) -> str:
        """Wait for its end; which signal ended it."""
        if not select.select([self._fd], [], [], seconds)[0]:
            return "lives"
        until = time.monotonic() + 3
        while time.monotonic() < until:  # its parent has not taken its exit code yet
            asked = bytearray(struct.pack("QQ11Ii", _EXIT, 0, *[0] * 12))
            try:
                fcntl.ioctl(self._fd, _GET_INFO, asked)
            except OSError:
                break
            mask, *_, code = struct.unpack("QQ11Ii", asked)
            if mask & _EXIT:
                number = code & 0x7F
                return signal.Signals(number).name if number else f"exit {code >> 8}"
            time.sleep(0.05)
        return "gone"


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[Victim]:
    """The process, standing still."""
    victim = Victim(pid)
    victim.send(signal.SIGSTOP)
    try:
        _await_stop(pid)
        yield victim
    finally:
        victim.send(signal.SIGCONT)


def _await_stop(pid: int) -> None:
    until = time.monotonic() + 5
    while time.monotonic() < until:
        try:
            status = psutil.Process(pid).status()
        except psutil.NoSuchProcess:
            raise Gone(f"process {pid}") from None
        if status == psutil.STATUS_STOPPED:
            return
        if status == psutil.STATUS_ZOMBIE:
            raise Gone(f"process {pid}")
        time.sleep(0.001)
    raise Gone(f"process {pid} does not stop")


def alive(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return pid > 0 and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def parent(pid: int) -> int:
    try:
        return psutil.Process(pid).ppid()
    except psutil.NoSuchProcess:
        raise Gone(f"process {pid}") from None


def part(settings: Settings, name: str) -> int:
    """Pid of a part of the stack: `airflow-scheduler`, `airflow-triggerer`."""
    supervisor = control.supervisor_pid(settings)
    for child in psutil.Process(supervisor).children() if supervisor else []:
        with contextlib.suppress(psutil.Error):
            if child.environ().get(config.NAME) == name:
                return child.pid
    raise Gone(name)
