"""Python imports this first, where this folder is in PYTHONPATH: have a warm process do what was asked of this one.

What it stands for is in `services.warm`. Only the standard library, and little of it: each process pays for it.
"""

# pathlib would be a third of this process's time
# ruff: noqa: PTH100, PTH109, PTH110, PTH118, PTH120, PTH208

import os
import sys

MODULES = (
    "airloom",
    "airloom.datasets.snapshots.snapshot",
    "airloom.jobs.child",
    "airloom.pipeline.rehearsal",
    "airloom.tuning.worker.trial",
    "pytest",
)
CODE = "# starts warm"  # so begins what `python -c` is given, where it wants that


def _asked() -> list[str]:
    """`-m` and a module, or `-c` and code, and the arguments; empty where a process of its own is to do it."""
    words = sys.orig_argv[1:]
    words = words[1:] if words[:1] == ["-P"] else words
    kind, what = (*words, "", "")[:2]
    wanted = what in MODULES if kind == "-m" else kind == "-c" and what.startswith(CODE)
    return words if wanted else []


def _hand_over(words: list[str], address: str) -> None:
    import json
    import signal
    import socket

    channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        channel.connect(address)
    except OSError:
        channel.close()
        return  # none is there: this process does it itself
    numbers = [int(name) for name in os.listdir("/proc/self/fd")]
    numbers = [number for number in numbers if number != channel.fileno() and os.path.exists(f"/proc/self/fd/{number}")]
    request = {
        "words": words,
        "here": "-P" not in sys.orig_argv[1:2],
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "cpus": sorted(os.sched_getaffinity(0)),
        "numbers": numbers,
    }
    socket.send_fds(channel, [json.dumps(request).encode()], numbers)
    pid = int(channel.recv(64))
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, lambda number, _: os.kill(pid, number))
    for number in numbers:
        if number > 2:
            os.close(number)  # pipes end with the process that has them
    code = int(channel.recv(64) or -signal.SIGKILL)
    if code < 0:
        signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
        os.kill(os.getpid(), -code)
    os._exit(code)


if _words := _asked():
    _hand_over(_words, os.path.join(os.path.dirname(os.path.abspath(__file__)), "socket"))
