"""What `jobs.yaml` tries with jobs: `jobs.py ACTION`, in the project's folder. Each prints what it saw."""

import hashlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from airloom.jobs import processes
from airloom.jobs.spec import JobSpec, Resources
from airloom.jobs.states import RUNNING, Attempt
from airloom.jobs.submit import end, submit
from airloom.jobs.table import Attempts
from airloom.jobs.wait import value, wait
from airloom.settings import Settings, load

HERE, MEBI = Path(__file__).resolve().parent, 2**20


def step(name: str, *, interpreter: str = "", environment: tuple[str, ...] = (), **rest: Any) -> JobSpec:
    """A step of jobs_steps.py; what is no resource is an argument."""
    resources = {key: rest.pop(key) for key in ("devices", "threads", "memory", "time") if key in rest}
    given = Resources(**{"time": 120, **resources})
    return JobSpec(f"jobs_steps:{name}", rest, [], given, interpreter, environment=list(environment))


def act(known: list[Callable[[Settings], None]]) -> None:
    """Do what the command line names; jobs find jobs_steps.py."""
    os.environ["PYTHONPATH"] = str(HERE)
    {action.__name__.replace("_", "-"): action for action in known}[sys.argv[1]](load())


def table_of(settings: Settings) -> Attempts:
    settings.make_home()
    return Attempts(settings.database_address)


def until(true: Callable[[], Any], seconds: float = 30) -> float:
    """Wait for it; the seconds that it took."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < seconds, "not in time"
        time.sleep(0.05)
    return time.monotonic() - began


def alive(pid: int) -> bool:
    """Whether a process still does something; a killed one may wait to be buried."""
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def running(settings: Settings, attempt: Attempt) -> Attempt:
    table = table_of(settings)
    until(lambda: table.get(attempt.id).state == RUNNING)
    return table.get(attempt.id)


def scratch(settings: Settings, name: str) -> Path:
    folder = settings.make_home() / "scratch"
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.unlink(missing_ok=True)
    return path


# -- attempts


def attempts(settings: Settings) -> None:
    """FAILED, killed, succeeded, submitted again, cleared."""
    for _ in range(3):
        ended = wait(settings, submit(settings, "accept/attempts", step("third_time")))
        print(f"attempt {ended.number} {ended.state} {ended.reason}")
    print(f"the kept state: {value(ended)['state']}")
    again = submit(settings, "accept/attempts", step("third_time"))
    print(f"submitted again: attempt {again.number}, the same: {again.id == ended.id}")
    cleared = wait(settings, submit(settings, "accept/attempts", step("third_time"), generation=1))
    print(f"cleared: attempt {cleared.number} begins anew: {cleared.reason}")


def races(settings: Settings) -> None:
    """Six submitters of one key at once, half of them killed at a random moment; eight times."""
    chance, killed = random.Random(4), 0
    for number in range(8):
        key, path = f"accept/race-{number}", scratch(settings, f"race-{number}")
        words = [sys.executable, __file__, "submit-once", key, str(path)]
        at_once = [subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(6)]
        for process in at_once:
            assert process.stdout
            process.stdout.readline()
        for process in at_once:
            assert process.stdin
            process.stdin.close()
        time.sleep(chance.uniform(0, 0.15))
        for process in at_once[:3]:
            process.kill()
        killed += sum(process.wait() == -signal.SIGKILL for process in at_once)
        ended = wait(settings, submit(settings, key, step("alone", path=str(path))))
        value(ended)
        found = table_of(settings).of(key)
        assert [a.state for a in found].count("SUCCEEDED") == 1, found
        assert path.read_text() == "ran\n" * path.read_text().count("ran")
        assert not processes.marked(ended.path)
    print(f"8 keys, 48 submitters, {killed} of them killed: never two at once, each succeeded once")


def submit_once(settings: Settings) -> None:
    """One submitter; it says when it is ready, and submits when its standard input ends."""
    key, path = sys.argv[2:]
    spec = step("alone", path=path)
    table_of(settings)
    print("ready", flush=True)
    sys.stdin.read()
    submit(settings, key, spec)


def lines(settings: Settings) -> None:
    """A job that goes on when this process has ended."""
    print(f"submitted {submit(settings, 'accept/lines', step('lines', count=8)).key}")


def sleeper(settings: Settings) -> None:
    """A job that does not end by itself."""
    running(settings, submit(settings, "accept/sleeper", step("sleep", seconds=300)))


def reasons(settings: Settings) -> None:
    """How jobs end, and what is said of it."""
    python = [sys.executable, "-c"]
    wanted = {
        "exit": (JobSpec(command=[*python, "raise SystemExit(3)"]), "FAILED it ended with exit code 3"),
        "crash": (JobSpec(command=[*python, "import os; os.kill(os.getpid(), 11)"]), "FAILED it was killed by SIGSEGV"),
        "absent": (JobSpec(command=["no-such-program"]), "FAILED it cannot be started: .*no-such-program"),
        "endless": (step("sleep", seconds=99, time=2), "FAILED wall time: its 2 s are over; raise resources.time"),
        "hungry": (step("hog", megabytes=300, memory=200 * MEBI), "FAILED memory: it used \\d+ MiB of 200 MiB; raise"),
        "missing": (step("nothing"), "FAILED AttributeError: module 'jobs_steps' has no attribute 'nothing'"),
        "wrong": (step("listing"), "FAILED jobs_steps:listing returned a list"),
        "lost": (step("sleep", seconds=99), "LOST its processes are gone; nobody saw it end"),
    }
    started = {name: submit(settings, f"accept/{name}", spec) for name, (spec, _) in wanted.items()}
    os.kill(running(settings, started["lost"]).owner, signal.SIGKILL)
    for name, (_, said) in wanted.items():
        ended = wait(settings, started[name])
        assert re.match(said, f"{ended.state} {ended.reason}"), (said, ended)
        assert not processes.marked(ended.path)
        print(f"{name}: {ended.state} {' '.join(ended.reason.split())}")


def postgres(settings: Settings) -> None:
    """The same with the table in PostgreSQL."""
    sys.path.insert(0, str(HERE.parent))
    from services.postgres import postgres as server

    with server() as address, tempfile.TemporaryDirectory() as folder:
        there = replace(settings, database=address, home=Path(folder))
        attempts(there)
        lost = submit(there, "accept/lost", step("sleep", seconds=99))
        os.kill(running(there, lost).owner, signal.SIGKILL)
        print(f"its supervisor killed: {wait(there, lost).state}")
        cancelled = running(there, submit(there, "accept/lost", step("sleep", seconds=99)))
        print(f"attempt {cancelled.number}: {end(table_of(there), cancelled, 'enough').state}")
        command = [sys.executable, "-m", "airloom", "jobs", "list"]
        print(subprocess.check_output(command, env=os.environ | there.as_environment(), text=True))


# -- apart from whoever submits


def apart(settings: Settings) -> None:
    """Session, process group, descriptors, CPUs."""
    secret = scratch(settings, "of the submitter")
    with secret.open("w") as file:
        os.set_inheritable(file.fileno(), True)
        seen = value(wait(settings, submit(settings, "accept/apart", step("look"))))
    print(f"own session: {seen['session'] not in (os.getsid(0), 0)}; own group: {seen['group'] == seen['pid']}")
    names = sorted({Path(place).name for place in seen["descriptors"].values() if place.startswith("/")})
    assert str(secret) not in seen["descriptors"].values()
    print(f"open files: {', '.join(names)}")
    print(f"bound to {seen['cpus']} of {len(os.sched_getaffinity(0))} CPUs, threads {seen['threads']}")


def environment(settings: Settings) -> None:
    """What a job sees of its submitter's environment, and where a secret is to be found."""
    token = os.urandom(12).hex()
    os.environ |= {"AIRFLOW__CORE__FERNET_KEY": token, "DATABASE_PASSWORD": token, "API_TOKEN": token}
    attempt = submit(settings, "accept/environment", step("look", environment=("API_TOKEN",)))
    seen = value(wait(settings, attempt))
    assert not [name for name in seen["variables"] if name.startswith("AIRFLOW") or name == "DATABASE_PASSWORD"]
    assert seen["token"] == hashlib.sha256(token.encode()).hexdigest()
    print(f"{len(seen['variables'])} variables, none of Airflow's; API_TOKEN arrived")
    found = [path for path in settings.home.rglob("*") if path.is_file() and token.encode() in path.read_bytes()]
    lines = [process.info["cmdline"] for process in psutil.process_iter(["cmdline"])]
    assert not found and token not in str(lines), found
    print("the secret stands in no file of the state folder and in no command line")


def two_environments(settings: Settings) -> None:
    """A virtual environment with all that this one has, but for Airflow; the whole job runs there."""
    folder = settings.make_home() / "slim"
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    ours, theirs = (next(Path(prefix).glob("lib/python*/site-packages")) for prefix in (sys.prefix, folder))
    for path in ours.iterdir():
        if not re.match(r"(apache_)?airflow", path.name) and not (theirs / path.name).exists():
            (theirs / path.name).symlink_to(path)
    for name, interpreter in (("here", ""), ("slim", str(folder / "bin" / "python"))):
        seen = value(wait(settings, submit(settings, f"accept/{name}", step("where", interpreter=interpreter))))
        print(f"{name}: {Path(seen['prefix']).name}, torch {seen['torch']}, Airflow there: {seen['airflow']}")


def orphans(settings: Settings) -> None:
    """A job that ends well and leaves processes of three kinds; and one whose supervisor is killed."""
    path = scratch(settings, "daemon")
    left = value(wait(settings, submit(settings, "accept/orphans", step("leave", path=str(path)))))["left"]
    print(f"left behind: {len(left)}, alive: {sum(map(alive, left))}")
    attempt = running(settings, submit(settings, "accept/orphaned", step("sleep", seconds=300)))
    family = processes.marked(attempt.path)
    os.kill(attempt.owner, signal.SIGKILL)
    ended = wait(settings, attempt)
    print(f"supervisor killed: {ended.state}, {len(family)} processes, alive: {sum(map(alive, family))}")


if __name__ == "__main__":
    act(
        [attempts, races, submit_once, lines, sleeper, reasons, postgres, apart, environment, two_environments, orphans]
    )
