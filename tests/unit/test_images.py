"""docker/: what can be known of the images and the compose file without building or starting one."""

import dataclasses
import importlib.util
import os
import re
import shutil
import stat
import subprocess
import sys
import threading
import tomllib
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from images import files

from airloom.settings import Settings

PROJECT = files.PROJECT
SERVICES = files.compose()["services"]
OURS = {name: entry for name, entry in SERVICES.items() if "build" in entry}
EXTRAS = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
VERSION = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]
# Variables that the tools themselves read: MLflow, Airflow, git, PostgreSQL's image.
TOOLS = re.compile(r"MLFLOW_[A-Z_]+|AIRFLOW_HOME|AIRFLOW__[A-Z_]+__[A-Z_]+|GIT_CONFIG_\w+|POSTGRES_(USER|PASSWORD|DB)")
SECRET = re.compile(r"PASSWORD|TOKEN|SECRET|FERNET")


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_a_health_check_no_rights_and_a_policy(name: str) -> None:
    entry = SERVICES[name]
    one_shot = entry["restart"] == "no"
    own = entry.get("healthcheck", {})
    health = own.get("test") or files.stages()[entry["build"]["target"]].health
    assert own.get("disable") is True if one_shot else health
    assert entry["restart"] in ("unless-stopped", "no")
    assert entry["cap_drop"] == ["ALL"] and entry["security_opt"] == ["no-new-privileges:true"]
    user = entry.get("user") or files.stages()[entry["build"]["target"]].user
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user), f"{name} runs as {user or 'root'}"
    assert not entry.get("privileged") and entry.get("network_mode") != "host"


@pytest.mark.parametrize("name", SERVICES)
def test_it_waits_for_health_and_is_reached_from_this_machine_only(name: str) -> None:
    entry = SERVICES[name]
    for other, how in entry.get("depends_on", {}).items():
        wanted = "service_completed_successfully" if SERVICES[other]["restart"] == "no" else "service_healthy"
        assert how["condition"] == wanted
    assert all(port.startswith("127.0.0.1:") for port in entry.get("ports", []))
    tag = entry["image"].partition(":")[2]
    assert tag and tag != "latest"
    assert "build" not in entry or (entry["image"].startswith("airloom-") and tag == VERSION)


@pytest.mark.parametrize("name", OURS)
def test_every_variable_is_a_setting_or_a_tools_own(name: str) -> None:
    settings = {f"AIRLOOM_{field.name.upper()}" for field in dataclasses.fields(Settings)}
    unknown = {key for key in OURS[name]["environment"] if key not in settings and not TOOLS.fullmatch(key)}
    assert unknown == set()


def test_no_secret_stands_in_a_file_and_one_command_makes_them_all(tmp_path: Path) -> None:
    text = (files.FOLDER / "compose.yaml").read_text()
    for entry in SERVICES.values():
        for key, value in entry.get("environment", {}).items():
            if SECRET.search(key) and not key.endswith("_FILE"):
                assert re.fullmatch(r"\$\{\w+:\?[^}]*\}", value), key
            assert "@" not in str(value) or re.search(r":\$\{\w+:\?[^}]*\}@", value), key
    shutil.copytree(files.FOLDER, tmp_path / "docker", ignore=shutil.ignore_patterns(".env"))
    script = tmp_path / "docker" / "secrets.sh"
    subprocess.run([str(script)], check=True, capture_output=True)
    made = tmp_path / "docker" / ".env"
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    values = dict(line.partition("=")[::2] for line in made.read_text().splitlines())
    assert set(values) == files.variables() == set(re.findall(r"\$\{(\w+):\?", text))
    assert len(set(values.values())) == len(values) and all(len(value) >= 44 for value in values.values())
    again = subprocess.run([str(script)], check=False, capture_output=True, text=True)
    assert again.returncode == 1 and "is there already" in again.stderr
    ignored = subprocess.run(["git", "check-ignore", "-q", "docker/.env"], cwd=PROJECT, check=False)
    assert ignored.returncode == 0 and "docker/.env" in (files.FOLDER / "Dockerfile.dockerignore").read_text()


def test_volumes_and_folders_are_declared_and_stay(tmp_path: Path) -> None:
    file = files.compose({name: "x" for name in files.variables()})
    mounts = [mount.split(":") for entry in file["services"].values() for mount in entry["volumes"]]
    named = {source for source, *_ in mounts if not source.startswith((".", "/"))}
    assert named == set(file["volumes"])
    owned = {"/var/lib/airloom", "/var/lib/airflow", "/var/lib/mlflow"}  # of the user, in every image
    assert {target for source, target, *_ in mounts if source in named} == owned | {"/var/lib/postgresql/data"}
    assert all(mode == ["ro"] for source, _, *mode in mounts if source not in named)
    base = " ".join(rest for _, rest in files.stages()["base"].instructions)
    assert all(folder in base for folder in owned) and "--uid 10001" in base
    databases = {
        entry["environment"].get(key, "").rpartition("/")[2]
        for entry in file["services"].values()
        for key in (
            "AIRLOOM_DATABASE",
            "AIRLOOM_MLFLOW_STORE",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN",
            "MLFLOW_BACKEND_STORE_URI",
        )
        if key in entry["environment"]
    }
    made = set(re.findall(r"CREATE DATABASE (\w+)", (files.FOLDER / "postgres" / "databases.sql").read_text()))
    assert databases == made | {file["services"]["postgres"]["environment"]["POSTGRES_USER"]}


@pytest.mark.parametrize("target", files.TARGETS)
def test_an_image_has_its_role_and_no_more(target: str) -> None:
    stage = files.stages()[target]
    assert stage.base == "base" and stage.user == "10001:10001" and stage.command and stage.health
    (environment,) = [rest for keyword, rest in stage.instructions if keyword == "COPY" and "--from=" in rest]
    built = files.stages()[environment.split()[0].removeprefix("--from=")]
    ((_, run),) = built.instructions
    assert run.startswith("--mount=type=secret,id=pip,")
    extras = run.split()[-1].split(",")
    assert set(extras) <= set(EXTRAS) and "dev" not in extras
    assert ("training" in extras) == (target == "worker")
    assert not [rest for keyword, rest in stage.instructions if keyword in ("RUN", "ADD")]  # nothing is left behind
    assert {entry["build"]["target"] for entry in OURS.values()} == set(files.TARGETS)


def test_the_lock_pins_what_is_installed_and_no_host_is_named() -> None:
    assert "--constraint /source/constraints.txt" in (files.FOLDER / "install.sh").read_text()
    for path in sorted(path for path in files.FOLDER.rglob("*") if path.is_file() and path.name != ".env"):
        hosts = re.findall(r"https?://([\w.-]+)", path.read_text())
        assert set(hosts) <= {"mlflow", "server", "airflow-api", "localhost", "127.0.0.1"}, path
        assert not os.access(path, os.X_OK) or path.suffix in (".sh", ".py")
    assert not [rest for keyword, rest in files.instructions() if keyword in ("ARG", "ENV") and SECRET.search(rest)]


def test_hadolint_finds_nothing() -> None:
    program = Path(sys.executable).with_name("hadolint")
    if not program.exists():
        pytest.skip("hadolint is not installed: `make install` of this release brings it")
    done = subprocess.run([program, "--no-color", "docker/Dockerfile"], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_compose_file_is_one() -> None:
    if importlib.util.find_spec("check_jsonschema") is None:
        pytest.skip("check-jsonschema is not installed: `make install` of this release brings it")
    words = ["--builtin-schema", "vendor.compose-spec", "docker/compose.yaml"]
    command = [sys.executable, "-m", "check_jsonschema", *words]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


class Health(BaseHTTPRequestHandler):
    """Airflow's answer of its parts."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health" else 503)
        self.end_headers()
        self.wfile.write(b'{"scheduler": {"status": "healthy"}, "triggerer": {"status": "unhealthy"}, "other": null}')

    def log_message(self, *_: object) -> None:
        """Nothing."""


def test_the_health_check_tells_well_from_not() -> None:
    server = HTTPServer(("127.0.0.1", 0), Health)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"

    def check(*words: str) -> tuple[int, str]:
        environment = os.environ | {"http_proxy": "http://127.0.0.1:9"}  # nobody's
        command = [sys.executable, str(files.FOLDER / "healthcheck.py"), *words]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        return done.returncode, done.stderr.strip()

    try:
        assert check(f"{url}/health") == check(f"{url}/health", "scheduler") == (0, "")
        assert check(f"{url}/health", "triggerer") == (1, "triggerer reports unhealthy")
        assert check(f"{url}/health", "other") == (1, "other reports None")
        assert check(f"{url}/other")[0] == 1
    finally:
        server.shutdown()
        server.server_close()
    assert check(f"{url}/health")[0] == 1
