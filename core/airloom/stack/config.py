"""Everything that the embedded stack's processes are started with: ports, secrets, environment, commands."""

import base64
import json
import os
import secrets
import sys
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

from airloom.errors import StackError
from airloom.files import write_private
from airloom.home import USER, private_folder
from airloom.settings import Settings
from airloom.stack import mlflow_app, preload
from airloom.stack.ports import Ports
from airloom.tracking import runs

MARK = "AIRLOOM_STACK_HOME"  # only the stack's own processes carry it, so a sweep never ends a person's shell
NAME = "AIRLOOM_PROCESS"  # tells the processes of a stack apart
DEFAULT_PORTS = {"airflow": 8080, "mlflow": 5000, "server": 3000}


@dataclass(frozen=True)
class Process:
    """One supervised process of the stack."""

    name: str
    command: tuple[str, ...]
    stop_seconds: int = 10


def prepare(settings: Settings, ports: Ports) -> dict[str, str | int]:
    """Choose ports, make secrets where there are none yet, and write `stack.json` (owner only)."""
    values: dict[str, str | int] = dict(settings.stack)
    for name, default in DEFAULT_PORTS.items():
        port = ports.choose(int(values.get(f"{name}_port", default)))
        values[f"{name}_port"] = port
        values[f"{name}_url"] = f"http://127.0.0.1:{port}"
    for name in ("airflow_password", "mlflow_password", "server_token", "jwt_secret", "api_secret"):
        values.setdefault(name, secrets.token_urlsafe(48 if name == "jwt_secret" else 18))
    values.setdefault("fernet_key", base64.urlsafe_b64encode(os.urandom(32)).decode())
    values.update(airflow_user="admin", project=str(settings.project))
    values.update(mlflow_user=mlflow_app.USER, mlflow_login=settings.mlflow_login)
    write_private(settings.make_home() / "stack.json", json.dumps(values, indent=1))
    if not settings.alerts_file.exists():
        write_private(settings.alerts_file, secrets.token_urlsafe(32))
    users = {"admin": values["airflow_password"]}
    write_private(settings.home / "airflow" / "passwords.json", json.dumps(users))
    preload.install(settings.home / "airflow")
    settings.__dict__.pop("stack", None)  # read the new file on next use
    return values


def check_login(settings: Settings) -> None:
    """Refuse an environment that was installed before MLflow had a login: MLflow would not find the plugin.

    Raises:
        StackError: it was.
    """
    if settings.mlflow_login and mlflow_app.NAME not in entry_points(group="mlflow.app").names:
        hint = "`make install`, or install this release of Airloom again; AIRLOOM_MLFLOW_LOGIN=off does without a login"
        raise StackError("the installed package has no plugin `mlflow.app` for MLflow's login", hint)


def environment(settings: Settings) -> dict[str, str]:
    """The environment of every process of the stack. Airflow's own, with its secrets, has `airflow_environment` too."""
    stack, home = settings.stack, settings.home
    return {
        **writable_home(settings),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "LANG": os.environ.get("LANG", "C.UTF-8"),
        "PYTHONUNBUFFERED": "1",
        "SPT_NOENV": "1",  # setproctitle would write its title over the environment that `down` reads
        "OMP_NUM_THREADS": "1",
        "AIRLOOM_HOME": str(home),
        "AIRLOOM_PROJECT": str(settings.project),
        "AIRLOOM_DATABASE": settings.database_address,
        "AIRLOOM_PREDICTION_LOG_SHARE": str(settings.prediction_log_share),
        "AIRLOOM_SERVED_MB": str(settings.served_mb),
        "AIRLOOM_SERVED_ALWAYS": settings.served_always,
        "AIRLOOM_PREDICTION_LOG_DAYS": str(settings.prediction_log_days),
        "AIRLOOM_PREDICTION_LOG_GB": str(settings.prediction_log_gb),
        "AIRLOOM_METRICS_MINUTE_DAYS": str(settings.metrics_minute_days),
        "AIRLOOM_METRICS_HOUR_DAYS": str(settings.metrics_hour_days),
        "AIRLOOM_ALERT_RUNS_PER_HOUR": str(settings.alert_runs_per_hour),
        "AIRLOOM_TRUSTED_KEYS": settings.trusted_keys,
        "AIRLOOM_JOB_PYTHON": settings.job_python,
        MARK: str(home),
        "MLFLOW_TRACKING_URI": str(stack["mlflow_url"]),
        **login_variables(settings),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # saves nine processes and a gigabyte
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "DO_NOT_TRACK": "true",
        "BENTOML_DO_NOT_TRACK": "True",
        "BENTOML_HOME": str(home / "bentoml"),
    }


def login_variables(settings: Settings) -> dict[str, str]:
    """What MLflow's clients read of their login to the stack's MLflow; empty where it wants none."""
    login = settings.mlflow_credentials
    return dict(zip(runs.LOGIN, login, strict=True)) if login else {}


def writable_home(settings: Settings) -> dict[str, str]:
    """Caches and configuration of the tools go under the state folder: HOME may be missing or read-only."""
    user = private_folder(settings.make_home() / USER)
    home = os.environ.get("HOME", "")
    return {
        "HOME": home if home and os.access(home, os.W_OK) else str(user),
        "XDG_CACHE_HOME": str(user / "cache"),
        "XDG_CONFIG_HOME": str(user / "config"),
        "MPLCONFIGDIR": str(user / "matplotlib"),
        "DVC_SITE_CACHE_DIR": str(user / "dvc"),
    }


def airflow_environment(settings: Settings) -> dict[str, str]:
    """What Airflow reads of its configuration, secrets among it; see `airloom.stack.airflow`."""
    stack, home = settings.stack, settings.home / "airflow"
    url = str(stack["airflow_url"])
    options = {
        "CORE__DAGS_FOLDER": settings.project / "dags",
        "CORE__PLUGINS_FOLDER": home / "plugins",
        "CORE__LOAD_EXAMPLES": False,
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__PARALLELISM": 2,
        "CORE__DAGS_ARE_PAUSED_AT_CREATION": False,
        "CORE__FERNET_KEY": stack["fernet_key"],
        "CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin",
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": home / "passwords.json",
        "CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": 0,
        "CORE__KILLED_TASK_CLEANUP_TIME": 5,
        "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
        "API__HOST": "127.0.0.1",  # the default is every interface
        "API__PORT": stack["airflow_port"],
        "API__WORKERS": 1,
        "API__BASE_URL": url,
        "API__EXPOSE_STACKTRACE": True,  # a database error is named to whoever logged in, not only in a log
        "API__SECRET_KEY": stack["api_secret"],
        "API_AUTH__JWT_SECRET": stack["jwt_secret"],
        "LOGGING__BASE_LOG_FOLDER": home / "logs",
        # Speed: otherwise a task holds its slot for five seconds after it ended. More lost beats are then tolerable.
        "WORKERS__MIN_HEARTBEAT_INTERVAL": 1,
        "WORKERS__MAX_FAILED_HEARTBEATS": 20,
        "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": 0.5,  # 1 is slow; 0.25 takes a tenth of a core from the trainings
        "DAG_PROCESSOR__REFRESH_INTERVAL": 10,
        "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": 30,
        # A killed task is noticed in seconds, not in five minutes.
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": 20,
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": 3,
        # Nor are the tasks of a killed scheduler left alone for five minutes, which is also how long they would wait
        # after `down` and a quick `up`.
        "SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": 10,
    }
    return {"AIRFLOW_HOME": str(home), **{f"AIRFLOW__{name}": str(value) for name, value in options.items()}}


def processes(settings: Settings) -> list[Process]:
    """MLflow, the four components of Airflow, and the model server."""
    stack, home = settings.stack, settings.home
    python = sys.executable
    airflow = (python, "-m", "airloom.stack.airflow")
    mlflow = (
        *(python, "-m", "mlflow", "server", "--workers", "1"),
        *("--host", "127.0.0.1", "--port", str(stack["mlflow_port"])),
        *("--backend-store-uri", f"sqlite:///{home / 'mlflow' / 'mlflow.db'}"),
        *("--artifacts-destination", str(home / "mlflow" / "artifacts")),
        *(("--app-name", mlflow_app.NAME) if settings.mlflow_credentials else ()),
    )
    server = (
        *(python, "-m", "bentoml", "serve", "airloom_serving.service:ModelServer"),
        *("--host", "127.0.0.1", "--port", str(stack["server_port"])),
    )
    return [
        Process("mlflow", mlflow),
        Process("airflow-api", (*airflow, "api-server")),
        Process("airflow-dag-processor", (*airflow, "dag-processor")),
        # The log servers would listen on every interface; on one machine the API reads the files themselves.
        Process("airflow-scheduler", (*airflow, "scheduler", "--skip-serve-logs"), stop_seconds=5),
        Process("airflow-triggerer", (*airflow, "triggerer", "--skip-serve-logs")),
        Process("model-server", server),
        Process("jobs-reconciler", (python, "-m", "airloom", "jobs", "reconcile"), stop_seconds=3),
    ]


def supervisor_config(settings: Settings) -> str:
    """The configuration of supervisord: no socket, one log a process, restarts with a limit."""
    run, logs = settings.home / "run", settings.home / "logs"
    parts = [
        "[supervisord]",
        f"pidfile={_escape(str(run / 'supervisord.pid'))}",
        f"logfile={_escape(str(logs / 'supervisord.log'))}",
        "logfile_maxbytes=5MB",
        f"directory={_escape(str(run))}",
        "umask=077",
    ]
    for process in processes(settings):
        parts += [
            "",
            f"[program:{process.name}]",
            f"command={' '.join(_quote(word) for word in process.command)}",
            f'environment={NAME}="{process.name}"',
            "autorestart=true",
            "startsecs=3",
            "startretries=20",
            f"stopwaitsecs={process.stop_seconds}",
            "stopasgroup=true",
            "killasgroup=true",
            "redirect_stderr=true",
            f"stdout_logfile={_escape(str(logs / f'{process.name}.log'))}",
            "stdout_logfile_maxbytes=20MB",
            "stdout_logfile_backups=1",
        ]
    return "\n".join(parts) + "\n"


def _escape(text: str) -> str:
    return text.replace("%", "%%")


def _quote(word: str) -> str:
    quoted = word.replace("\\", "\\\\").replace('"', '\\"')
    return _escape(f'"{quoted}"' if quoted != word or set(word) & set(" ;'") else word)
