"""A platform that is not ours: its own Airflow, MLflow and model server, each started as its manual says.

Airflow's environment has no torch; a second one, for jobs, has it. Both are virtual environments over the installed
packages, so that nothing is downloaded.
"""

import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx

from services.postgres import postgres

USERS = {"ada": "Admin", "vera": "Viewer"}
SECRET = "not-to-be-shown-"  # begins each password and token
DAG = """
from airflow.sdk import DAG
from operators.hello import HelloOperator  # of their plugins folder

with DAG("theirs", schedule=None) as dag:
    HelloOperator(task_id="hello")
"""
OPERATOR = """
from airflow.sdk import BaseOperator


class HelloOperator(BaseOperator):
    def execute(self, context):
        return "hello"
"""
PLUGIN = """
from airflow.plugins_manager import AirflowPlugin


class TheirPlugin(AirflowPlugin):
    name = "theirs"
"""
NO_TORCH = "import sys\n\nsys.modules['torch'] = None  # as if it were not installed\n"


def has_fab() -> bool:
    """Whether Airflow's other way to log in is installed."""
    try:
        return importlib.util.find_spec("airflow.providers.fab") is not None
    except ModuleNotFoundError:
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment_beside(folder: Path, *, torch: bool) -> str:
    """A virtual environment with what is installed here; its Python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    tests = str(Path(__file__).resolve().parents[1])
    paths = [path for path in sys.path if Path(path).is_dir() and path != tests and "site-packages" in path]
    paths += [str(Path(importlib.util.find_spec(name).origin).parents[1]) for name in PARTS]
    (packages / "installed.pth").write_text("\n".join(dict.fromkeys(paths)) + "\n")
    if not torch:
        (packages / "no_torch.pth").write_text("import no_torch\n")
        (packages / "no_torch.py").write_text(NO_TORCH)
    return str(folder / "bin" / "python")


PARTS = ("airloom", "airloom_operators", "airloom_plugins", "airloom_serving")


class Platform:
    """Everything that a company has before it has heard of us."""

    def __init__(self, folder: Path, auth: str) -> None:
        self.folder, self.auth, self._stack = folder, auth, ExitStack()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.airflow_python = environment_beside(folder / "airflow-venv", torch=False)
        self.job_python = environment_beside(folder / "jobs-venv", torch=True)
        ports = {name: free_port() for name in ("airflow", "mlflow", "server")}
        self.ports = ports
        self.airflow_url, self.mlflow_url, self.server_url = (f"http://127.0.0.1:{ports[name]}" for name in ports)
        self.passwords = {user: f"{SECRET}{user}" for user in USERS}
        self.mlflow_user, self.mlflow_password = "airloom", f"{SECRET}mlflow"
        self.server_token, self.database_password = f"{SECRET}server", f"{SECRET}database"
        self.home, self.project = folder / "airflow", folder / "shop"
        self.database = ""

    def __enter__(self) -> "Platform":
        address = self._stack.enter_context(postgres())
        self.database = address.replace("+psycopg2", "")
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self.processes.values()):
            self._end(process, signal.SIGTERM)
        for process in self.processes.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                self._end(process, signal.SIGKILL)
                process.wait(20)
            self._end(process, signal.SIGKILL)  # what it left behind in its group
        self._stack.close()

    @staticmethod
    def _end(process: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)

    @property
    def plain(self) -> dict[str, str]:
        """Nearly nothing."""
        home = self.folder / "user"
        home.mkdir(exist_ok=True)
        paths = f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}"
        return {"PATH": paths, "HOME": str(home), "LANG": "C.UTF-8", "MLFLOW_DISABLE_TELEMETRY": "true"}

    @property
    def airflow(self) -> dict[str, str]:
        """Of Airflow's processes: nothing of ours."""
        fab = "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager"
        options = {
            "CORE__DAGS_FOLDER": self.home / "dags",
            "CORE__PLUGINS_FOLDER": self.home / "plugins",
            "CORE__LOAD_EXAMPLES": False,
            "CORE__PARALLELISM": 3,
            "CORE__TEST_CONNECTION": "Enabled",
            "CORE__FERNET_KEY": "x7X4jHn9nB5fJ0mJm0m0fXb4mS1pQy1v3sS2cG5kq0c=",
            "CORE__EXECUTION_API_SERVER_URL": f"{self.airflow_url}/execution/",
            "CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{user}:{role.lower()}" for user, role in USERS.items()),
            "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": self.home / "passwords.json",
            "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.home / 'airflow.db'}",
            "API__HOST": "127.0.0.1",
            "API__PORT": self.ports["airflow"],
            "API__WORKERS": 1,
            "API__BASE_URL": self.airflow_url,
            "API__SECRET_KEY": "theirs",
            "API_AUTH__JWT_SECRET": "theirs" * 11,
            "WORKERS__MIN_HEARTBEAT_INTERVAL": 1,
            "DAG_PROCESSOR__REFRESH_INTERVAL": 5,
        }
        options |= {"CORE__AUTH_MANAGER": fab} if self.auth == "fab" else {}
        return self.plain | {
            "AIRFLOW_HOME": str(self.home),
            **{f"AIRFLOW__{name}": str(value) for name, value in options.items()},
        }

    def make(self) -> None:
        """What they have: a DAG, an operator in a package called `operators`, a plugin, users, tables."""
        plugins = self.home / "plugins"
        for folder in (self.home / "dags", plugins / "operators"):
            folder.mkdir(parents=True)
        (self.home / "dags" / "theirs.py").write_text(DAG)
        (plugins / "operators" / "__init__.py").write_text("")
        (plugins / "operators" / "hello.py").write_text(OPERATOR)
        (plugins / "their_plugin.py").write_text(PLUGIN)
        (self.home / "passwords.json").write_text(json.dumps(self.passwords))
        self.command("db", "migrate")
        if self.auth == "fab":
            for user, role in USERS.items():
                names = ("--username", user, "--firstname", user, "--lastname", user, "--email", f"{user}@example.org")
                self.command("users", "create", *names, "--role", role, "--password", self.passwords[user])

    def command(self, *words: str) -> str:
        """One of Airflow's own."""
        return self.run([self.airflow_python, "-m", "airflow", *words], self.airflow)

    def airloom(self, *words: str, **variables: str) -> str:
        """One of ours, as a person in the project calls it."""
        return self.run([self.job_python, "-m", "airloom", *words], self.plain | variables, self.project)

    def run(self, command: list[str], environment: dict[str, str], folder: Path | None = None) -> str:
        """What a command prints; it must go well."""
        done = subprocess.run(
            command, env=environment, cwd=folder or self.folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-3000:]}"
        return done.stdout

    def begin(self, name: str, command: list[str], environment: dict[str, str]) -> None:
        """Start a process that stays."""
        with (self.folder / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                command, env=environment, cwd=self.folder, stdout=log, stderr=log, start_new_session=True
            )

    def start_airflow(self) -> None:
        """The four components, by Airflow's own commands."""
        for name in ("api-server", "scheduler", "dag-processor", "triggerer"):
            quiet = ["--skip-serve-logs"] if name in ("scheduler", "triggerer") else []
            self.begin(f"airflow-{name}", [self.airflow_python, "-m", "airflow", name, *quiet], self.airflow)

    def start_mlflow(self) -> None:
        """MLflow with a login: its own `basic-auth` where that can run, else another app that asks for one."""
        place = self.folder / "mlflow"
        place.mkdir()
        own = importlib.util.find_spec("flask_wtf") is not None
        variables = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        if own:
            (place / "auth.ini").write_text(
                f"[mlflow]\ndefault_permission = NO_PERMISSIONS\ndatabase_uri = sqlite:///{place}/auth.db\n"
                f"admin_username = {self.mlflow_user}\nadmin_password = {self.mlflow_password}\n"
                "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
            )
            variables |= {
                "MLFLOW_AUTH_CONFIG_PATH": str(place / "auth.ini"),
                "MLFLOW_FLASK_SERVER_SECRET_KEY": "theirs",
            }
        else:
            names = ("airflow_url", "airflow_user", "airflow_password", "mlflow_url", "server_url", "server_token")
            login = dict.fromkeys(names, "") | {"mlflow_password": self.mlflow_password}
            (place / "home").mkdir(mode=0o700)
            (place / "home" / "stack.json").write_text(json.dumps(login))
            variables |= {"AIRLOOM_HOME": str(place / "home")}
        command = [self.airflow_python, "-m", "mlflow", "server", "--workers", "1"]
        command += ["--host", "127.0.0.1", "--port", str(self.ports["mlflow"])]
        command += ["--app-name", "basic-auth" if own else "airloom"]
        command += ["--backend-store-uri", f"sqlite:///{place / 'mlflow.db'}"]
        command += ["--artifacts-destination", str(place / "artifacts")]
        self.begin("mlflow", command, self.plain | variables)

    @property
    def ours(self) -> dict[str, str]:
        """What a process of ours beside Airflow needs: addresses stand in airloom.toml, secrets here."""
        database = self.database.replace("airloom@", f"airloom:{self.database_password}@")
        return {
            "AIRLOOM_DATABASE": database,
            "MLFLOW_TRACKING_USERNAME": self.mlflow_user,
            "MLFLOW_TRACKING_PASSWORD": self.mlflow_password,
            "AIRLOOM_SERVER_TOKEN": self.server_token,
        }

    def start_ours(self) -> None:
        """The model server, and the reconciler of jobs."""
        project = {"AIRLOOM_PROJECT": str(self.project)}
        command = [self.job_python, "-m", "bentoml", "serve", "airloom_serving.service:ModelServer"]
        command += ["--host", "127.0.0.1", "--port", str(self.ports["server"])]
        self.begin("model-server", command, self.plain | self.ours | project)
        login = {"AIRLOOM_AIRFLOW_USER": "ada", "AIRLOOM_AIRFLOW_PASSWORD": self.passwords["ada"]}
        login |= {"AIRLOOM_AIRFLOW_URL": self.airflow_url}
        reconcile = [self.job_python, "-m", "airloom", "jobs", "reconcile"]
        self.begin("reconcile", reconcile, self.plain | self.ours | project | login)

    def healthy(self) -> bool:
        """Whether MLflow and each part of Airflow answer."""
        try:
            parts = httpx.get(f"{self.airflow_url}/api/v2/monitor/health", timeout=20).json()
            mlflow = httpx.get(f"{self.mlflow_url}/health", timeout=20).status_code == 200
            httpx.get(f"{self.airflow_url}/execution/health", timeout=30)
        except (httpx.HTTPError, ValueError):
            return False
        names = ("metadatabase", "scheduler", "triggerer", "dag_processor")
        return mlflow and all((parts.get(name) or {}).get("status") == "healthy" for name in names)

    def ask(self, user: str, method: str, path: str, **body: Any) -> httpx.Response:
        """Airflow's API, as one of the users."""
        login = {"username": user, "password": self.passwords[user]}
        token = httpx.post(f"{self.airflow_url}/auth/token", json=login, timeout=60).json()["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.request(method, f"{self.airflow_url}/api/v2/{path}", headers=headers, timeout=60, **body)

    def until(self, true: Callable[[], bool], seconds: float) -> None:
        """Wait; none of the processes may end meanwhile."""
        end = time.monotonic() + seconds
        while not true():
            for name, process in self.processes.items():
                assert process.poll() is None, f"{name} ended: {self.log(name)}"
            assert time.monotonic() < end, "\n".join(f"{name}: {self.log(name)}" for name in self.processes)
            time.sleep(1)

    def log(self, name: str) -> str:
        """The end of what a process printed."""
        return re.sub(r"\x1b\[[0-9;]*m", "", (self.folder / f"{name}.log").read_text(errors="replace"))[-1500:]

    def shown(self) -> list[Path]:
        """Logs of Airflow, of jobs and of the processes in which a secret stands."""
        places = [self.home / "logs", self.project / ".airloom" / "jobs"]
        files = [file for place in places for file in place.rglob("*") if file.is_file()]
        files += list(self.folder.glob("*.log"))
        return [file for file in files if SECRET.encode() in file.read_bytes()]

    def template(self) -> None:
        """A project as `airloom init` makes it, and its addresses; two trials are enough here."""
        self.run([self.job_python, "-m", "airloom", "init", "shop", "--template", "blank"], self.plain)
        pipeline = self.project / "configs" / "pipelines" / "shop.yaml"
        pipeline.write_text(pipeline.read_text().replace("trials: 4", "trials: 2").replace("workers: 2", "workers: 1"))
        (self.project / "airloom.toml").write_text(
            f'tracking_uri = "{self.mlflow_url}"\nserver_url = "{self.server_url}"\n'
        )
        shutil.rmtree(self.project / "dags")  # theirs has one file of its own
        self.run([self.job_python, "-m", "shop.data"], self.plain, self.project)
