"""Steps that misbehave in every way, in a project of their own; each test's jobs are ended after it."""

import os
import shutil
import time
from pathlib import Path

import pytest

from airloom.jobs import processes
from airloom.jobs.spec import JobSpec, Resources
from airloom.jobs.submit import submit
from airloom.jobs.table import Attempts
from airloom.settings import Settings

STEPS = """
import os, signal, subprocess, sys, time
from pathlib import Path
from airloom.errors import ConfigError

def hello(name):
    print("working for", name)
    names = ("AIRLOOM_HOME", "OMP_NUM_THREADS", "AIRLOOM_JOB_ATTEMPT", "CUDA_VISIBLE_DEVICES", "AIRLOOM_JOB_DEVICES")
    return {"hello": name, "cwd": os.getcwd(), "pid": os.getpid(), **{n: os.environ.get(n) for n in names}}

def environment():
    return dict(os.environ)

def count(path, seconds):
    with open(path, "a") as file:
        file.write("x")
    time.sleep(seconds)
    return {"done": True}

def refuse():
    raise ConfigError("wrong key", "mend it")

def crash():
    raise KeyError("deep")

def die():
    print("about to die")
    os.kill(os.getpid(), signal.SIGKILL)

def stubborn(path):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Path(path).write_text(str(os.getpid()))
    time.sleep(60)

def resume():
    state = Path(os.environ["AIRLOOM_JOB_STATE"]) / "step"
    step = int(state.read_text()) if state.exists() else 0
    while step < 5:
        step += 1
        state.write_text(str(step))
        if step == 3 and os.environ["AIRLOOM_JOB_ATTEMPT"] == "1":
            os.kill(os.getpid(), signal.SIGKILL)
    return {"steps": step}

def family(path, seconds=1):
    code = "import os,time;os.setsid();time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", "import subprocess,sys,time;"
        f"subprocess.Popen([sys.executable,'-c',{code!r}]);time.sleep(60)"])
    Path(path).write_text("up")
    time.sleep(seconds)
    return {"child": child.pid}

def hog(megabytes):
    kept = bytearray(megabytes * 2**20)
    for at in range(0, len(kept), 4096):
        kept[at] = 1
    time.sleep(30)

def shout(megabytes):
    line = "x" * 1023
    for _ in range(megabytes * 1024):
        print(line)
    return {"said": megabytes}

def stray(path):
    Path(path).write_text("out of place")
    return {}

def device(path, seconds):
    mine = os.environ["AIRLOOM_JOB_DEVICES"].split(",")
    with open(path, "a") as file:
        for name in mine:
            file.write(f"start {name} {time.time()} {os.getpid()}\\n")
    time.sleep(seconds)
    with open(path, "a") as file:
        for name in mine:
            file.write(f"end {name} {time.time()} {os.getpid()}\\n")
    return {"devices": mine}
"""


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    project = tmp_path / "project"
    project.mkdir()
    (project / "steps_for_test.py").write_text(STEPS)
    shutil.copy(Path(__file__).with_name("hostile_steps.py"), project)
    monkeypatch.setenv("PYTHONPATH", str(project), prepend=os.pathsep)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    made = Settings(home=tmp_path / "home", project=project)
    yield made
    if (made.home / "airloom.db").exists():
        for attempt in Attempts(made.database_address).alive():
            processes.end_attempt(attempt.path)


@pytest.fixture
def table(settings: Settings) -> Attempts:
    settings.make_home()
    return Attempts(settings.database_address)


@pytest.fixture
def job(settings: Settings):
    """Submit a step of the test's."""

    def start(name: str, arguments=None, *, key="k", generation=0, interpreter="", at=settings, **resources):
        spec = JobSpec(
            step=name if ":" in name else f"steps_for_test:{name}",
            arguments=arguments or {},
            resources=Resources(**{"time": 60, **resources}),
            interpreter=interpreter,
        )
        return submit(at, key, spec, generation=generation)

    return start


@pytest.fixture
def until():
    def wait(condition, seconds=100):
        end = time.monotonic() + seconds
        while not condition() and time.monotonic() < end:
            time.sleep(0.05)
        assert condition()

    return wait
