"""Prometheus and Alertmanager of Debian for a test, with the files of configs/prometheus made quick.

apt-get install --no-install-recommends prometheus prometheus-alertmanager
"""

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from services.platform import free_port

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "prometheus"
PROGRAMS = ("prometheus", "promtool", "prometheus-alertmanager", "amtool")
MISSING = [name for name in PROGRAMS if not shutil.which(name)]
WHY = f"missing: {', '.join(MISSING)}: apt-get install prometheus prometheus-alertmanager"
WINDOW = "[6s]"  # instead of [5m]


def files(folder: Path) -> Path:
    """A copy of our files with tokens that are empty, so that their checkers find all that they name."""
    shutil.copytree(CONFIGS, folder, dirs_exist_ok=True)
    for name in ("model-server.token", "alerts.token"):
        (folder / name).write_text("")
    return folder


def check(*command: str) -> str:
    """What a checker says; it must find nothing wrong."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def receivers(config: Path, *labels: str) -> str:
    """Whom Alertmanager tells of an alert with these labels."""
    said = check("amtool", "config", "routes", "test", f"--config.file={config}", *labels)
    return said.splitlines()[0]


class Watch:
    """Both, started.

    Attributes:
        url: of Prometheus.
    """

    def __init__(self, folder: Path, server: str, server_token: str, airflow: str, alerts_token: str) -> None:
        self.folder, self.url = files(folder), f"http://127.0.0.1:{free_port()}"
        self._alertmanager = f"http://127.0.0.1:{free_port()}"
        (folder / "model-server.token").write_text(server_token)
        (folder / "alerts.token").write_text(alerts_token)
        changes = {"127.0.0.1:9093": self._alertmanager[7:], "127.0.0.1:3000": server[7:]}
        changes |= {"http://127.0.0.1:8080": airflow, "interval: 15s": "interval: 1s", "[5m]": WINDOW}
        changes |= {"group_wait: 10s": "group_wait: 0s", "group_interval: 1m": "group_interval: 1s"}
        for path in folder.rglob("*.yml"):
            text = path.read_text()
            for old, new in changes.items():
                text = text.replace(old, new)
            path.write_text(re.sub(r"for: \d+m", "for: 1s", text))
        check("promtool", "check", "config", str(folder / "prometheus.yml"))
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start both, and wait until they answer."""
        data = str(self.folder / "data")
        self._begin(
            *("prometheus-alertmanager", f"--config.file={self.folder / 'alertmanager.yml'}"),
            *(f"--storage.path={data}-am", f"--web.listen-address={self._alertmanager[7:]}"),
            "--cluster.listen-address=",
        )
        self._begin(
            *("prometheus", f"--config.file={self.folder / 'prometheus.yml'}"),
            *(f"--storage.tsdb.path={data}", f"--web.listen-address={self.url[7:]}"),
        )
        for address in (self.url, self._alertmanager):
            until = time.monotonic() + 60
            while not _answers(f"{address}/-/ready"):
                assert time.monotonic() < until, self.log()
                time.sleep(0.2)

    def firing(self) -> set[str]:
        """The alerts that fire."""
        alerts = httpx.get(f"{self.url}/api/v1/alerts", timeout=10).json()["data"]["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}

    def log(self) -> str:
        """The end of what both printed."""
        return "\n".join(path.read_text(errors="replace")[-3000:] for path in self.folder.glob("*.log"))

    def _begin(self, *command: str) -> None:
        with (self.folder / f"{command[0]}.log").open("wb") as log:
            self.processes.append(subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder))

    def stop(self) -> None:
        """End both."""
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)


@contextmanager
def watch(folder: Path, server: str, server_token: str, airflow: str, alerts_token: str) -> Iterator[Watch]:
    """Both, as long as the block.

    Args:
        folder: of their own.
        server: the address of the model server.
        server_token: of it.
        airflow: the address of Airflow's API server.
        alerts_token: that Alertmanager shows there.
    """
    made = Watch(folder, server, server_token, airflow, alerts_token)
    try:
        made.start()
        yield made
    finally:
        made.stop()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False
