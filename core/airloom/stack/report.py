"""What `airloom status` and `airloom doctor` say."""

import shutil
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from airloom import home, schema
from airloom.contracts import Record
from airloom.datasets.storage import dvc_config, repository
from airloom.errors import AirloomError
from airloom.files import check_sqlite, read_json
from airloom.settings import Settings
from airloom.sql_reader import Reader
from airloom.stack import control, device_checks, project_checks
from airloom.stack.airflow_api import AirflowApi
from airloom.stack.finding import Finding

STACK_FILE = "stack.json"
DATABASES = ("airloom.db", "optuna.db", "mlflow/mlflow.db", "airflow/airflow.db")
OTHERS = stat.S_IRWXG | stat.S_IRWXO  # permissions of anybody but the owner


@dataclass(frozen=True)
class StackStatus(Record):
    """How the stack of this home is."""

    home: str
    healthy: bool
    processes: list[control.ProcessState]
    full_pools: list[str]  # a sentence for each
    served: dict[str, Any]  # what the model server says of each model, by name
    server_problem: str  # why nobody knows what is served; empty where it answers


def status(settings: Settings) -> StackStatus:
    """Processes with health, and what the model server says that it serves."""
    states = control.states(settings)
    served, problem = _served(settings)
    healthy = bool(states) and all(state.healthy for state in states)
    return StackStatus(
        home=str(settings.home),
        healthy=healthy,
        processes=states,
        full_pools=_full_pools(settings) if healthy else [],
        served=served,
        server_problem=problem,
    )


def _full_pools(settings: Settings) -> list[str]:
    try:
        with AirflowApi(settings) as api:
            return api.full_pools()
    except AirloomError:  # it went away since the health check; the processes tell
        return []


def _served(settings: Settings) -> tuple[dict[str, Any], str]:
    if not settings.model_server:
        return {}, "never started here"
    headers = {"Authorization": f"Bearer {settings.model_token}"}
    try:
        answer = httpx.get(f"{settings.model_server}/status", headers=headers, timeout=5, trust_env=False)
        return dict(answer.raise_for_status().json()["models"]), ""
    except (httpx.HTTPError, ValueError, KeyError) as error:
        return {}, f"{settings.model_server}/status does not answer ({type(error).__name__})"


def render_status(stack: StackStatus) -> str:
    """Lines for people."""
    lines = [f"state folder {stack.home}"]
    if not stack.processes:
        return "\n".join([*lines, "never started here; `airloom up` starts the stack"])
    for process in stack.processes:
        lines.append(f"{process.name:24} {process.pid or '-':>8}  {process.detail}")
    lines.append(
        "logins of Airflow, MLflow and the model server: `airloom up` prints them; MLflow in a shell: `airloom env`"
    )
    lines += stack.full_pools
    for model, state in stack.served.items():
        lines.append(f"serves {model} version {state.get('version')}")
    if not stack.served:
        lines.append(f"serves nothing{': ' + stack.server_problem if stack.server_problem else ''}")
    return "\n".join(lines)


def doctor(settings: Settings) -> list[Finding]:
    """Every check with its outcome and, where it failed, the fix."""
    findings = [_tool("git", "install git"), _python(), _disk(settings), _secrets(settings)]
    findings += [*project_checks.project(settings), *device_checks.cuda()]
    damaged = _files(settings)
    findings += damaged or [Finding("files", True, "what the state folder needs can be read")]
    if any(finding.check == STACK_FILE for finding in damaged):
        return findings  # without it nobody knows where the stack is
    findings += _dvc_remote(settings)
    if settings.stack:
        findings += _processes(settings)
        findings += _dag_files(settings)
    else:
        findings.append(Finding("stack", False, "never started here", "`airloom up`"))
    return findings


def render_doctor(findings: list[Finding]) -> str:
    """Lines for people: the fix stands below what is wrong."""
    lines = []
    for finding in findings:
        lines.append(f"{'ok  ' if finding.ok else 'FAIL'} {finding.check}: {finding.detail}")
        if not finding.ok:
            lines.append(f"     -> {finding.fix}")
    return "\n".join(lines)


def _tool(name: str, fix: str) -> Finding:
    path = shutil.which(name)
    return Finding(name, bool(path), path or "not on PATH", fix)


def _python() -> Finding:
    ok = (3, 11) <= sys.version_info[:2] < (3, 13)
    return Finding("python", ok, sys.version.split()[0], "use Python 3.11 or 3.12: `make install PYTHON=python3.11`")


def _disk(settings: Settings) -> Finding:
    folder = next(path for path in (settings.home, *settings.home.parents) if path.exists())
    free = shutil.disk_usage(folder).free / 2**30
    return Finding("disk", free > 2, f"{free:.1f} GiB free at {folder}", "free some space: 2 GiB are needed")


def _secrets(settings: Settings) -> Finding:
    loose = [p for p in (settings.home, settings.home / "stack.json") if p.exists() and p.stat().st_mode & OTHERS]
    detail = f"readable by others: {', '.join(map(str, loose))}" if loose else "readable by the owner only"
    return Finding("secrets", not loose, detail, f"chmod -R go= {settings.home}")


def _files(settings: Settings) -> list[Finding]:
    """A finding for each file of the state folder that is empty or nonsense, or of another release."""
    checks: dict[str, Callable[[], object]] = {STACK_FILE: lambda: settings.stack}
    checks[schema.FILE] = partial(home.check, settings.home)
    checks[home.INSTALLATION] = partial(home.installation, settings.home)
    for path in [settings.home / "demo.json", *sorted((settings.home / "devices").glob("*.json"))]:
        checks[str(path.relative_to(settings.home))] = partial(read_json, path, "remove it")
    for name in DATABASES:
        checks[name] = partial(_read_database, settings.home / name)
    findings = []
    for name, check in checks.items():
        try:
            check()
        except AirloomError as error:
            findings.append(Finding(name, False, error.message, error.hint))
    return findings


def _dvc_remote(settings: Settings) -> list[Finding]:
    """Whether a clone of the datasets finds their files, where this home keeps both."""
    repo = settings.data_repo
    try:
        text = repository.read_file(repo, "main", repository.CONFIG) if repository.head(repo) else None
    except AirloomError as error:
        return [Finding("datasets", False, error.message, error.hint)]
    if text is None:
        return []
    url = dvc_config.url_of(text)
    if dvc_config.renewed(settings, text) == text:
        return [Finding("datasets", True, f"clones of {repo} find the data in {url}")]
    detail = f"the home was moved: clones of {repo} look for the data in {url}"
    return [Finding("datasets", False, detail, "`airloom up`, or the next commit, names the new place")]


def _read_database(path: Path) -> None:
    address = f"sqlite:///{path}"
    check_sqlite(address)
    if path.is_file() and path.stat().st_size:
        Reader(address).rows("SELECT name FROM sqlite_master")


def _processes(settings: Settings) -> list[Finding]:
    findings = []
    for state in control.states(settings):
        last = control.log_tail(Path(state.log), 1)
        detail = state.detail if state.healthy else f"{state.detail}; last line of its log: {' '.join(last)[:200]}"
        fix = f"`airloom down`, then `airloom up`; the log is {state.log}"
        findings.append(Finding(state.name, state.healthy, detail, fix))
    return findings


def _dag_files(settings: Settings) -> list[Finding]:
    try:
        with AirflowApi(settings) as api:
            errors, findings = api.import_errors(), list(project_checks.dags(settings, api))
    except AirloomError as error:
        return [Finding("DAG files", False, error.message, "`airloom up`")]
    if not errors:
        return [Finding("DAG files", True, "all were read"), *findings]
    return findings + [
        Finding("DAG files", False, f"{e['filename']}: {e['stack_trace'].strip().splitlines()[-1]}", "mend the file")
        for e in errors
    ]
