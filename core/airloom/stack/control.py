"""Start, stop and look at the embedded stack. supervisord keeps the processes; this file keeps supervisord."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from airloom.datasets.storage import repository
from airloom.errors import StackError
from airloom.files import write_private
from airloom.jobs import control as jobs
from airloom.settings import Settings
from airloom.stack import config, health, migration
from airloom.stack.ports import Ports

LogLine = Callable[[str], None]
SUPERVISOR = "supervisor.supervisord"  # the module that is started, a word of its command line


@dataclass(frozen=True)
class ProcessState:
    """One process of the stack, as found in the process table."""

    name: str
    pid: int | None
    healthy: bool
    detail: str
    log: str


def supervisor_pid(settings: Settings) -> int | None:
    """The pid of this home's supervisord, if it lives.

    The pid file is only the quick way: supervisord writes it some time after it has become a daemon, and one that was
    killed leaves an old file behind, whose pid another process may have by now. The process table decides.
    """
    try:
        pid = int((settings.home / "run" / "supervisord.pid").read_text())
        if _supervises(psutil.Process(pid), settings):
            return pid
    except (OSError, ValueError, psutil.Error):
        pass
    supervisors = [process for process in psutil.process_iter() if _supervises(process, settings)]
    # The oldest: a child that it has just forked looks like it until its own program begins.
    return min(supervisors, key=psutil.Process.create_time).pid if supervisors else None


def _supervises(process: psutil.Process, settings: Settings) -> bool:
    try:
        marked = process.environ().get(config.MARK) == str(settings.home)
        alive = process.status() != psutil.STATUS_ZOMBIE
        return marked and alive and SUPERVISOR in process.cmdline()
    except psutil.Error:  # it ended meanwhile, or belongs to somebody else
        return False


def up(settings: Settings, log_line: LogLine, timeout: float = 180) -> bool:
    """Start the stack and wait until every part is healthy; False when it ran already.

    Raises:
        StackError: another `up` is at work, a process keeps dying, or the time is over.
        StateError: a newer release wrote the state.
    """
    migration.migrate(settings, log_line)
    if settings.data_repo.is_dir():
        repository.renew_remote(settings)
    run = settings.make_home() / "run"
    for folder in (run, settings.home / "logs", settings.home / "airflow" / "plugins", settings.home / "mlflow"):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        with FileLock(str(run / "up.lock"), timeout=0):
            if supervisor_pid(settings):
                log_line("the stack runs already")
                wait_healthy(settings, log_line, timeout)
                return False
            sweep(settings)
            try:
                with Ports() as ports:
                    _start(settings, ports, log_line)
                    wait_healthy(settings, log_line, timeout)
            except BaseException:
                down(settings, log_line)
                raise
            return True
    except Timeout:
        raise StackError("another `airloom up` is at work on this stack", "wait for it to end") from None


def _start(settings: Settings, ports: Ports, log_line: LogLine) -> None:
    config.check_login(settings)
    config.prepare(settings, ports)
    path = settings.home / "run" / "supervisord.conf"
    write_private(path, config.supervisor_config(settings))
    environment = config.environment(settings)
    _make_databases(settings, environment, log_line)
    log_line("starting MLflow, Airflow and the model server")
    command = [sys.executable, "-m", SUPERVISOR, "-c", str(path)]
    # supervisord makes itself a daemon and returns at once
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, umask=0o077)
    if done.returncode:
        output = (done.stderr or done.stdout).strip()[-400:]
        raise StackError(f"supervisord did not start: {output}", "`airloom doctor`")


def _make_databases(settings: Settings, environment: dict[str, str], log_line: LogLine) -> None:
    """MLflow's and Airflow's tables, beside each other; MLflow's under the lock that others take who make them."""
    address = f"sqlite:///{settings.home / 'mlflow' / 'mlflow.db'}"
    command = [sys.executable, "-m", "airloom.tracking.store", address, "mlflow-artifacts:/"]
    both = subprocess.STDOUT
    mlflow = subprocess.Popen(command, env=environment, umask=0o077, stdout=subprocess.PIPE, stderr=both, text=True)
    try:
        _migrate_airflow(settings, environment, log_line)
    finally:
        output, _ = mlflow.communicate()
    if mlflow.returncode:
        raise StackError(f"MLflow's tables cannot be made: {output.strip()[-600:]}", "`airloom doctor`")


def _migrate_airflow(settings: Settings, environment: dict[str, str], log_line: LogLine) -> None:
    import importlib.metadata

    stamp = settings.home / "airflow" / "migrated"
    version = importlib.metadata.version("apache-airflow-core")
    if stamp.exists() and stamp.read_bytes() == version.encode():
        return
    log_line("creating Airflow's database")
    command = [sys.executable, "-m", "airloom.stack.airflow", "db", "migrate"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, umask=0o077)
    if done.returncode:
        raise StackError(f"`airflow db migrate` failed: {done.stderr.strip()[-600:]}", "`airloom doctor`")
    stamp.write_text(version)


def wait_healthy(settings: Settings, log_line: LogLine, timeout: float) -> None:
    """Return when all parts answer their health checks; say each part once when it does.

    Raises:
        StackError: the supervisor ended, or the time is over.
    """
    began, healthy = time.monotonic(), set[str]()
    while True:
        problems = health.check(settings)
        for name, problem in problems.items():
            if not problem and name not in healthy:
                healthy.add(name)
                log_line(f"{name} is healthy after {time.monotonic() - began:.0f} s")
        if not any(problems.values()):
            return
        if supervisor_pid(settings) is None:
            raise StackError("the stack's supervisor is gone", f"see {settings.home / 'logs' / 'supervisord.log'}")
        if time.monotonic() - began > timeout:
            ill = "; ".join(f"{name}: {problem}" for name, problem in problems.items() if problem)
            raise StackError(f"not healthy after {timeout:.0f} s: {ill}", "`airloom doctor` names the cause")
        time.sleep(0.3)


def down(settings: Settings, log_line: LogLine) -> int:
    """Stop everything that belongs to this home, also what a crash left behind; returns how many were ended."""
    pid = supervisor_pid(settings)
    if pid:
        log_line("stopping the stack")
        process = psutil.Process(pid)
        process.terminate()
        psutil.wait_procs([process], timeout=20)
    ended = sweep(settings)
    # Last, so that nobody is left who would submit them again.
    stopped = jobs.stop_all(settings, "the stack went down; the next `airloom up` goes on with it")
    if stopped:
        log_line(f"{stopped} jobs were stopped at a checkpoint")
    (settings.home / "run" / "supervisord.pid").unlink(missing_ok=True)
    return ended + stopped + bool(pid)


def sweep(settings: Settings) -> int:
    """End every process that carries this home's mark; a second look catches what they started meanwhile."""
    ended = 0
    for _ in range(3):
        processes = strays(settings)
        if not processes:
            break
        for process in processes:
            _signal(process, kill=False)
        _, alive = psutil.wait_procs(processes, timeout=5)
        for process in alive:
            _signal(process, kill=True)
        psutil.wait_procs(alive, timeout=5)
        ended += len(processes)
    return ended


def strays(settings: Settings) -> list[psutil.Process]:
    """All living processes with this home's mark in their environment, except this one and its parents."""
    mine = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    processes = []
    for process in psutil.process_iter():
        try:
            marked = process.pid not in mine and process.environ().get(config.MARK) == str(settings.home)
            if marked and process.status() != psutil.STATUS_ZOMBIE:
                processes.append(process)
        except psutil.Error:  # it ended meanwhile, or belongs to somebody else
            continue
    return processes


def states(settings: Settings) -> list[ProcessState]:
    """Each process of the stack with its pid and its health."""
    pid = supervisor_pid(settings)
    if not settings.stack:
        return []
    pids = {_name(child): child.pid for child in psutil.Process(pid).children()} if pid else {}
    problems = health.check(settings)
    result = []
    for process in config.processes(settings):
        child_pid = pids.get(process.name)
        problem = problems.get(process.name, "") if child_pid else "not running"
        log = str(settings.home / "logs" / f"{process.name}.log")
        result.append(ProcessState(process.name, child_pid, not problem, problem or "healthy", log))
    return result


def _name(child: psutil.Process) -> str:
    try:
        return child.environ().get(config.NAME, "")
    except psutil.Error:  # it ended meanwhile
        return ""


def _signal(process: psutil.Process, *, kill: bool) -> None:
    try:
        process.kill() if kill else process.terminate()
    except psutil.Error:
        return


def log_tail(path: Path, lines: int = 5) -> list[str]:
    """The last lines of a log file, empty when there is none."""
    try:
        return path.read_text(errors="replace").splitlines()[-lines:]
    except OSError:
        return []
