"""Make the kept home of this release: `python tests/kept/make.py`, once a release, before it is published.

It plays a small project as a person does (two dataset versions, a run on an MLflow server, an answer of the model
server) and keeps the state folder as `<release>.tar.xz`, beside `<release>.json` with what the commands said of it.
tests/unit/test_kept_homes.py opens every one that was kept. The keys and passwords in it are of nothing else.
"""

import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from airloom.version import __version__

FOLDER = Path(__file__).resolve().parent
# Caches, sockets and what each process makes anew; the files of the models are in MLflow's own folder.
LEFT_OUT = ("cache", "user", "run", "logs", "bentoml", "optuna.lock")
QUESTION = [[0.5, -0.25], [-0.125, 0.75]]
# What is asked of the home, and again by the test; {run}, {prediction} and {study} are of the record.
DOORS = (
    ("dataset", "log", "shop"),
    ("dataset", "show", "shop@v1"),
    ("dataset", "show", "shop@v2"),
    ("dataset", "diff", "shop@v1", "shop@v2"),
    ("experiment", "show", "shop"),
    ("experiment", "show", "{run}"),
    ("study", "show", "{study}"),
    ("model", "list"),
    ("model", "show", "shop/1"),
    ("trace", "{prediction}"),
    ("impact", "shop@v1"),
)


def main() -> None:
    """Play it and keep it."""
    with tempfile.TemporaryDirectory(prefix="airloom-kept-") as folder:
        project = Path(folder) / "shop"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRLOOM_")}
        environment |= {"AIRLOOM_USER": "Ada <ada@example.org>", "AIRLOOM_SERVER_TOKEN": "of-nothing-else"}

        def python(*words: str, where: Path = project) -> str:
            command = [sys.executable, *words]
            return subprocess.run(
                command, cwd=where, env=environment, check=True, stdout=subprocess.PIPE
            ).stdout.decode()

        def airloom(*words: str) -> Any:
            return json.loads(python("-m", "airloom", *words, "--json"))

        python("-m", "airloom", "init", "shop", "--template", "blank", where=Path(folder))
        _small(project)
        python("-m", "shop.data")
        _cut(project / "data")
        of_rows = ("--label", "target", "--type", "tabular", "-m", "first rows")
        airloom("dataset", "create", "shop", "data/one.csv", *of_rows)
        airloom("dataset", "commit", "shop", "data/two.csv", "-m", "more rows")
        home = project / ".airloom"
        python("-m", "airloom.tracking.store", f"sqlite:///{home / 'mlflow' / 'mlflow.db'}", "mlflow-artifacts:/")
        with served(mlflow(home), "/health", environment, project) as url:
            environment |= of_server(home, url)
            run = airloom("run", "shop")["context"]["key"]
            with served(MODEL_SERVER, "/readyz", environment, project) as server:
                answer = _answer(server)
            record = {"run": run, "study": run, "prediction": answer["prediction_ids"][0], "answer": answer}
            asked = [[word.format(**record) for word in door] for door in DOORS]
            record["doors"] = [{"asked": door, "said": airloom(*door)} for door in asked]
        _keep(home, record)


MODEL_SERVER = (sys.executable, "-m", "bentoml", "serve", "airloom_serving.service:ModelServer")


def mlflow(home: Path) -> tuple[str, ...]:
    """The command of an MLflow server on a home's own store."""
    store, files = f"sqlite:///{home / 'mlflow' / 'mlflow.db'}", str(home / "mlflow" / "artifacts")
    command = (sys.executable, "-m", "mlflow", "server", "--workers", "1")
    return (*command, "--backend-store-uri", store, "--artifacts-destination", files)


def of_server(home: Path, url: str) -> dict[str, str]:
    """What makes it this home's MLflow."""
    return {"AIRLOOM_TRACKING_URI": url, "AIRLOOM_MLFLOW_STORE": f"sqlite:///{home / 'mlflow' / 'mlflow.db'}"}


@contextlib.contextmanager
def served(command: tuple[str, ...], path: str, environment: dict[str, str], folder: Path) -> Iterator[str]:
    """The address of a server on a free port, from when it answers at `path` to the end of the block."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [*command, "--host", "127.0.0.1", "--port", str(port)]
    quiet = {"BENTOML_HOME": str(folder / "bentoml"), "BENTOML_DO_NOT_TRACK": "True", "DO_NOT_TRACK": "true"}
    quiet["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    with (folder / f"server-{port}.log").open("w") as log:
        started = {"cwd": folder, "env": environment | quiet, "stdout": log, "stderr": log, "start_new_session": True}
        process = subprocess.Popen(words, **started)
        try:
            _wait(process, f"http://127.0.0.1:{port}{path}", Path(log.name))
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait(process: "subprocess.Popen[bytes]", url: str, log: Path, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(url, timeout=5, trust_env=False).status_code == 200:
                return
        time.sleep(0.2)
    raise RuntimeError(f"{url} does not answer:\n{log.read_text()[-3000:]}")


def _small(project: Path) -> None:
    file = project / "configs" / "pipelines" / "shop.yaml"
    file.write_text(file.read_text().replace("trials: 4", "trials: 1").replace("workers: 2", "workers: 1"))


def _cut(data: Path) -> None:
    header, *rows = (data / "rows.csv").read_text().splitlines(keepends=True)
    (data / "one.csv").write_text(header + "".join(rows[:60]))
    (data / "two.csv").write_text(header + "".join(rows[60:90]))


def _answer(server: str) -> Any:
    """An answer, once the model is loaded."""
    headers, asked = {"Authorization": "Bearer of-nothing-else"}, {"model": "shop", "instances": QUESTION}
    for _ in range(300):
        answer = httpx.post(f"{server}/predict", headers=headers, json=asked, trust_env=False)
        if answer.status_code != 404:
            return answer.raise_for_status().json()
        time.sleep(0.2)
    raise RuntimeError(f"the model is not served: {answer.text}")


def _keep(home: Path, record: dict[str, Any]) -> None:
    for file in (home / "airloom.db", home / "optuna.db", home / "mlflow" / "mlflow.db"):
        with contextlib.closing(sqlite3.connect(file)) as connection:
            connection.execute("VACUUM")

    def kept(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        if entry.name in {f"home/{name}" for name in LEFT_OUT} or entry.name.endswith(".sample"):
            return None
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        return entry

    (FOLDER / f"{__version__}.json").write_text(json.dumps(record, indent=1) + "\n")
    with tarfile.open(FOLDER / f"{__version__}.tar.xz", "w:xz", preset=9) as archive:
        archive.add(home, "home", filter=kept)


if __name__ == "__main__":
    main()
