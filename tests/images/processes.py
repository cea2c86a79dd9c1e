"""The services of the compose file as processes of this machine: their commands and variables, on free ports."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from images import files

HOSTS = "postgres|mlflow|server|airflow-api|localhost"
PORTS = ("3000", "5000", "5432", "8080", "8974")
FOLDERS = ("/var/lib/airloom", "/var/lib/airflow", "/var/lib/mlflow", "/project")


class Suite:
    """What stands for the containers.

    Args:
        folder: what stands for their volumes.
        postgres: the port of a PostgreSQL that trusts everybody.
        values: of the variables of `docker/.env`.
    """

    def __init__(self, folder: Path, project: Path, postgres: int, values: dict[str, str]) -> None:
        self.folder, self.values = folder, values
        self.ports = {port: str(postgres) if port == "5432" else str(free_port()) for port in PORTS}
        self.places = {place: str(folder / place.rpartition("/")[2]) for place in FOLDERS[:-1]} | {
            "/project": str(project)
        }
        for place in self.places.values():
            Path(place).mkdir(exist_ok=True, mode=0o700)
        programs = folder / "bin"
        programs.mkdir()
        (programs / "healthcheck").symlink_to(files.FOLDER / "healthcheck.py")
        self.path = os.pathsep.join([str(programs), str(files.PROJECT / ".venv" / "bin"), os.environ["PATH"]])
        self.services = {service.name: service for service in files.services(values)}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def url(self, port: str) -> str:
        """The address of a service by the port that it has in its container."""
        return f"http://127.0.0.1:{self.ports[port]}"

    def here(self, text: str) -> str:
        """A text of the files with this machine's addresses and folders in the place of the containers'."""
        text = re.sub(rf"(?<=[/@])({HOSTS})(?=:\d)", "127.0.0.1", text).replace("0.0.0.0", "127.0.0.1")  # noqa: S104
        text = re.sub(rf"\b({'|'.join(PORTS)})\b", lambda found: self.ports[found[0]], text)
        return re.sub("|".join(FOLDERS), lambda found: self.places[found[0]], text)

    def environment(self, name: str) -> dict[str, str]:
        """What a service has in its environment, and nothing else of ours."""
        own = {key: self.here(value) for key, value in self.services[name].environment.items() if key != "PATH"}
        kept = {key: os.environ[key] for key in ("HOME", "PYTHONPATH") if key in os.environ}
        return (
            kept
            | own
            | {"PATH": self.path, "GIT_CONFIG_VALUE_0": self.places["/project"], "BENTOML_HOME": str(self.folder)}
        )

    def start(self, name: str, seconds: float) -> None:
        """Start a service and wait until its own check says that it is well, or until it has ended well."""
        service = self.services[name]
        with (self.folder / f"{name}.log").open("w") as log:
            started = {"cwd": self.folder, "stdout": log, "stderr": log, "start_new_session": True}
            command = [self.here(word) for word in service.command]
            process = subprocess.Popen(command, env=self.environment(name), **started)
        self._processes[name] = process
        end = time.monotonic() + seconds
        while said := self.checked(name):
            ended = process.poll()
            if ended == 0 and not service.health:
                return
            if ended is not None or time.monotonic() > end:
                raise AssertionError(f"{name}: {said}, ended {ended}:\n{self.log(name)[-4000:]}")
            time.sleep(1)

    def checked(self, name: str) -> str:
        """What the health check of a service says; empty where it is well."""
        if not self.services[name].health:
            return "it ends by itself"
        command = [self.here(word) for word in self.services[name].health]
        done = subprocess.run(command, env=self.environment(name), capture_output=True, text=True, check=False)
        return (done.stderr or "not well") if done.returncode else ""

    def log(self, name: str) -> str:
        """What a service printed."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def stop(self) -> None:
        """End them all, the last one first."""
        for process in reversed(self._processes.values()):
            process.terminate()
        for process in self._processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextlib.contextmanager
def suite(folder: Path, project: Path, postgres: int, values: dict[str, str]) -> Iterator[Suite]:
    """One that is not started; what was started ends with the block."""
    made = Suite(folder, project, postgres, values)
    try:
        yield made
    finally:
        made.stop()


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
