"""The servers that are measured, each in a process of its own, and what each is asked."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil

WIDTH, HIDDEN, CLASSES, TOKEN = 784, 128, 10, "made-up-token"
WAIT = 120  # seconds for a server to answer
JSON = {"Content-Type": "application/json"}
BENTO, UVICORN = ("-m", "bentoml", "serve"), ("-m", "uvicorn", "--log-level", "warning", "--no-access-log")


@dataclass
class Server:
    """One side: a route of a server.

    Attributes:
        name: of the side.
        url: of the route.
        process: that was started; its children belong to it.
        headers: of each request.
        body: of each request.
        folder: for its files.
        right: the class that ONNX Runtime gives.
    """

    name: str
    url: str
    process: psutil.Process
    headers: dict[str, str]
    body: bytes
    folder: Path
    right: int
    body_file: Path = field(init=False)

    def __post_init__(self) -> None:
        self.body_file = self.folder / f"{self.name}.body"
        self.body_file.write_bytes(self.body)

    @property
    def processes(self) -> list[psutil.Process]:
        """Its process and all below it."""
        return [self.process, *self.process.children(recursive=True)]

    @property
    def cpu(self) -> float:
        """Seconds that it has used."""
        return sum(sum(process.cpu_times()[:2]) for process in self.processes)

    @property
    def megabytes(self) -> float:
        """What it has in memory; what processes share counts once."""
        return float(sum(process.memory_full_info().pss for process in self.processes)) / 2**20

    def answered(self) -> Any:
        """The class that it answers; None where it answers nothing."""
        answer = httpx.post(self.url, content=self.body, headers=self.headers, trust_env=False)
        if not answer.is_success:
            raise SystemExit(f"{self.name} answers {answer.status_code}: {answer.text[:300]}")
        if self.name == "empty":
            return None
        found = answer.json()
        found = found.get("predictions") or found["parameters"]["predictions"] if isinstance(found, dict) else found
        return found[0]


# name -> the server it is a route of, and the path
SIDES = {
    "ours_json": ("ours", "/v1/models/mlp/predict"),
    "ours_raw": ("ours", "/v2/models/mlp/infer"),
    "bentoml": ("bento", "/predict"),
    "bentoml_batching": ("bento", "/batched"),
    "fastapi_json": ("fastapi", "/json"),
    "fastapi_raw": ("fastapi", "/raw"),
    "fastapi_async": ("fastapi", "/async"),
    "empty": ("empty", "/"),
}
COMMANDS = {
    "ours": (*BENTO, "airloom_serving.service:ModelServer"),
    "bento": (*BENTO, "benchmarks._serving.stock:Stock"),
    "fastapi": (*UVICORN, "--factory", "benchmarks._serving.peers:fastapi"),
    "empty": (*UVICORN, "benchmarks._serving.peers:empty"),
}


@contextlib.contextmanager
def started(folder: Path) -> Iterator[dict[str, Server]]:
    """All sides, by name; they have ended afterwards."""
    row = np.random.default_rng(1).random((1, WIDTH)).round(4).astype(np.float32)
    model, right = _model(folder / "model", row)
    environment = os.environ | {
        "BENCH_MODEL": str(model),
        "OMP_NUM_THREADS": "1",
        "BENTOML_HOME": str(folder / "bento"),
    }
    environment |= {"AIRLOOM_HOME": str(folder / "home"), "AIRLOOM_PROJECT": str(folder), "AIRLOOM_SERVER_TOKEN": TOKEN}
    environment |= {
        "OMP_NUM_THREADS": "1",
        "MLFLOW_TRACKING_URI": "",
        "MLFLOW_REGISTRY_URI": "",
        "BENTOML_DO_NOT_TRACK": "True",
    }
    subprocess.run(
        [sys.executable, "-m", "benchmarks._registered", "mlp", str(model.parent)], env=environment, check=True
    )
    head, numbers = _raw(row)
    asked: dict[str, tuple[dict[str, str], bytes]] = {
        "ours_json": (JSON | _token(), json.dumps({"instances": row.tolist()}).encode()),
        "ours_raw": ({"Inference-Header-Content-Length": str(len(head))} | _token(), head + numbers),
        "fastapi_raw": ({"Content-Type": "application/octet-stream"}, row.tobytes()),
        "empty": (JSON, row.tobytes()),
    }
    usual = (JSON, json.dumps({"instances": row.tolist()}).encode())
    running: dict[str, tuple[subprocess.Popen[bytes], str]] = {}
    try:
        for name, command in COMMANDS.items():
            running[name] = _start(name, command, environment, folder)
        yield {
            side: Server(
                side,
                f"{running[server][1]}{path}",
                psutil.Process(running[server][0].pid),
                *asked.get(side, usual),
                folder,
                right,
            )
            for side, (server, path) in SIDES.items()
        }
    finally:
        for process, _ in running.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for process, _ in running.values():
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def _token() -> dict[str, str]:
    return {"Authorization": f"Bearer {TOKEN}"}


def _raw(row: "np.ndarray[Any, Any]") -> tuple[bytes, bytes]:
    """A body of the Open Inference Protocol: JSON, and the numbers behind it."""
    one = {"name": "input", "shape": list(row.shape), "datatype": "FP32"}
    return json.dumps({"inputs": [one | {"parameters": {"binary_data_size": row.nbytes}}]}).encode(), row.tobytes()


def _start(
    name: str, command: tuple[str, ...], environment: dict[str, str], folder: Path
) -> tuple["subprocess.Popen[bytes]", str]:
    """A server that answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *command, "--host", "127.0.0.1", "--port", str(port)],
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    url, until = f"http://127.0.0.1:{port}", time.monotonic() + WAIT
    ready = {"ours": "/v2/models/mlp/ready", "bento": "/readyz"}.get(name, "/")
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{url}{ready}", headers=_token(), trust_env=False).status_code in (
                200,
                404 if ready == "/" else 0,
            ):
                return process, url
        time.sleep(0.2)
    raise SystemExit(f"{name} did not start:\n{(folder / f'{name}.log').read_text()[-2000:]}")


def _model(folder: Path, row: "np.ndarray[Any, Any]") -> tuple[Path, int]:
    """A graph of two layers with drawn weights, and the class that it gives to a row."""
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    drawn = np.random.default_rng(0)
    weights = {"w1": drawn.normal(size=(WIDTH, HIDDEN)), "w2": drawn.normal(size=(HIDDEN, CLASSES))}
    nodes = [
        helper.make_node("MatMul", ["input", "w1"], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["positive"]),
        helper.make_node("MatMul", ["positive", "w2"], ["output"]),
    ]
    sides = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", width])
        for name, width in (("input", WIDTH), ("output", CLASSES))
    ]
    constants = [numpy_helper.from_array(values.astype(np.float32), name) for name, values in weights.items()]
    graph = helper.make_graph(nodes, "mlp", sides[:1], sides[1:], constants)
    folder.mkdir(parents=True)
    file = folder / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), file)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    inputs = drawn.random((3, WIDTH), np.float32)
    golden = {"inputs": inputs.tolist(), "outputs": session.run(None, {"input": inputs})[0].tolist()}
    (folder / "golden.json").write_text(json.dumps(golden))
    return file, int(session.run(None, {"input": row})[0].argmax())
