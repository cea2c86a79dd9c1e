"""A model of an own project behind `bentoml serve`, asked by the clients that people come with."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np

CREATE = "-m airloom dataset create shop data/rows.csv --label target --type tabular -m first"
TOKEN = "made-up-token"


def main() -> None:
    """Print what was seen; `serving.yaml` compares."""
    with tempfile.TemporaryDirectory(prefix="airloom doors ") as folder:
        for name in [name for name in os.environ if name.startswith("AIRLOOM_")]:
            del os.environ[name]
        _run(Path(folder), "-m", "airloom", "init", "shop", "--template", "blank")
        project = Path(folder) / "shop"
        os.chdir(project)
        for words in ("-m shop.data", CREATE, "-m airloom run shop"):
            _run(project, *words.split())
        with _server() as port:
            _ask(port)


def _run(folder: Path, *words: str) -> None:
    subprocess.run([sys.executable, *words], cwd=folder, check=True, stdout=subprocess.DEVNULL)


@contextmanager
def _server() -> Iterator[int]:
    """`bentoml serve`, until the model serves."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "bentoml", "serve", "airloom_serving.service:ModelServer"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    environment = os.environ | {"AIRLOOM_SERVER_TOKEN": TOKEN, "BENTOML_DO_NOT_TRACK": "True"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen(command, env=environment, start_new_session=True, **quiet)
    try:
        end = time.monotonic() + 180
        while time.monotonic() < end and not _serves(port):
            time.sleep(0.3)
        yield port
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(60)


def _serves(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/v1/models/shop/ping", headers=_bearer()).status_code == 200
    except httpx.TransportError:
        return False


def _bearer() -> dict[str, str]:
    return {"Authorization": f"Bearer {TOKEN}"}


def _ask(port: int) -> None:
    import pandas as pd
    from mlflow.pyfunc.scoring_server.client import ScoringServerClient

    import airloom

    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=_bearer(), trust_env=False)
    rows = airloom.dataset("shop").version(1).split("test").to_pandas()[["a", "b"]].head(20)
    answers = client.post("/v1/models/shop/predict", json={"instances": rows.to_numpy().tolist()}).json()
    about = client.get("/v1/models/shop").json()
    print("record:", about["model"], about["version"], about["task"], [role["role"] for role in about["roles"]])
    tried = client.post("/v1/models/shop/predict", json=about["example"])
    version, first = (tried.headers[f"x-airloom-{name}"] for name in ("model-version", "prediction-id"))
    print("example:", tried.status_code, version == about["version"], first == tried.json()["prediction_ids"][0])
    mlflow = ScoringServerClient(f"any:{TOKEN}@127.0.0.1", f"{port}/v1/models/shop")
    mlflow.wait_server_ready()
    for name, sent in (("frame", rows), ("array", rows.to_numpy()), ("other order", rows[["b", "a"]].assign(c=1))):
        same = mlflow.invoke(sent).get_predictions()[0].tolist() == answers["predictions"]
        print(f"mlflow's client, {name}: {same}")
    csv = client.post("/invocations", content=rows.to_csv(index=False), headers={"Content-Type": "text/csv"})
    print("csv:", csv.json()["predictions"] == answers["predictions"])
    raw = rows.to_numpy().astype("<f4").tobytes()
    told = client.post("/v1/models/shop/predict", content=raw, headers={"Content-Type": "application/octet-stream"})
    single = np.frombuffer(raw, "<f4").reshape(-1, 2).tolist()
    wanted = client.post("/v1/models/shop/predict", json={"instances": single})
    print("raw:", told.json()["predictions"] == wanted.json()["predictions"])
    wrong = client.post("/invocations", json={"dataframe_split": pd.DataFrame({"a": [1], "c": [2]}).to_dict("split")})
    print("refused:", wrong.status_code, wrong.headers["content-type"], wrong.json()["input"], wrong.json()["title"])


if __name__ == "__main__":
    main()
