"""A process that starts warm is to whoever started it what a cold one is."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from services.warm import Warm, warm

TELL = """# starts warm
import os, sys
print(sys.argv[1:], os.environ["SAID"], os.getcwd(), sys.stdin.readline().strip(), "torch" in sys.modules)
os.write(int(sys.argv[1]), b"by a pipe")
print("and so", file=sys.stderr)
raise SystemExit(7)
"""
WAIT = """# starts warm
import os, signal, sys, time
def stop(*_):
    print("stopped", flush=True)
    sys.exit(3)
signal.signal(signal.SIGTERM, stop)
print(os.getpid(), flush=True)
time.sleep(100)
"""


def start(warm_start: Warm, code: str, *words: str, **options) -> "subprocess.Popen[str]":
    environment = {"PYTHONPATH": str(warm_start.folder), "SAID": "this"}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-c", code, *words],
        env=environment,
        text=True,
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        **options,
    )


def test_it_has_the_words_variables_folder_and_descriptors_and_the_code_comes_back(
    warm_start: Warm, tmp_path: Path
) -> None:
    reading, writing = os.pipe()
    process = start(warm_start, TELL, str(writing), cwd=tmp_path, pass_fds=[writing])
    os.close(writing)
    told, complained = process.communicate("a line\n")
    assert told == f"['{writing}'] this {tmp_path} a line True\n"
    assert (complained, process.returncode) == ("and so\n", 7)
    assert os.read(reading, 100) == b"by a pipe"
    assert os.read(reading, 100) == b""  # nobody has it any more
    os.close(reading)


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_both(warm_start: Warm, sign: signal.Signals) -> None:
    process = start(warm_start, WAIT)
    fork = psutil.Process(int(process.stdout.readline()))
    process.send_signal(sign)
    assert process.communicate(timeout=60)[0] == ("stopped\n" if sign == signal.SIGTERM else "")
    assert process.returncode == (3 if sign == signal.SIGTERM else -signal.SIGKILL)
    until = time.monotonic() + 60
    while fork.is_running() and time.monotonic() < until:
        time.sleep(0.01)
    assert not fork.is_running()


def test_who_names_the_same_folder_has_the_same_process(warm_start: Warm, tmp_path: Path) -> None:
    (tmp_path / "place").write_text(str(warm_start.folder))
    with warm(tmp_path) as one, warm(tmp_path) as other:
        assert one.folder == other.folder == warm_start.folder
    process = start(warm_start, TELL, "1")  # those two left, and it is there for the third
    assert process.communicate("")[0].startswith("['1'] this ") and process.returncode == 7


def test_what_kills_the_fork_ends_its_stand_in_alike(warm_start: Warm) -> None:
    process = start(warm_start, WAIT)
    os.kill(int(process.stdout.readline()), signal.SIGSEGV)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGSEGV
