"""A real `bentoml serve` on a free port of 127.0.0.1 over a real MLflow store; one server for all, in this order."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pyarrow.dataset as ds
import pytest
from served.problems import problem_of

from airloom.deployment import record, serving
from airloom.errors import StackError
from airloom.monitoring import metric_aggregator, metric_query, prediction_id, prediction_log, totals
from airloom.registry import models, tokens
from airloom.tracking import runs
from airloom_serving.openapi import ROUTES

TOKEN = "made-up-token"
LIMIT = 8 * 2**20


class Served:
    """The server's process, a client of it, and the pipeline whose versions it serves."""

    def __init__(self, world, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.world, self.settings = world, world.settings
        self.url = f"http://127.0.0.1:{port}"
        self.client = httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {TOKEN}"}, trust_env=False)
        self.answered = 0  # rows, so far
        mine = {"AIRLOOM_HOME": str(self.settings.home), "AIRLOOM_SERVER_TOKEN": TOKEN, "MLFLOW_TRACKING_URI": ""}
        environment = os.environ | mine | {"BENTOML_HOME": str(folder / "bentoml"), "BENTOML_DO_NOT_TRACK": "True"}
        command = [sys.executable, "-m", "bentoml", "serve", "airloom_serving.service:ModelServer"]
        self.log = folder / "server.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*command, "--host", "127.0.0.1", "--port", str(port)],
                cwd=folder,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def alias(self, version: str) -> None:
        """As anybody does with a plain MLflow client."""
        runs.client(self.settings).set_registered_model_alias("digits", "champion", version)

    def status(self) -> dict[str, Any]:
        return self.client.get("/status").raise_for_status().json()

    def predict(self, rows: Any, **more: Any) -> httpx.Response:
        answer = self.client.post("/predict", json={"model": "digits", "instances": rows, **more})
        self.answered += len(answer.json()["predictions"]) if answer.is_success else 0
        return answer

    def until(self, condition: Callable[[], Any], seconds: float = 60) -> Any:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                found = condition()
            except httpx.TransportError:
                found = None
            if found:
                return found
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            time.sleep(0.1)
        raise AssertionError(f"not within {seconds} s; the server said:\n{self.log.read_text()[-3000:]}")

    def serves(self, version: str) -> bool:
        return self.status()["models"].get("digits", {}).get("version") == version


@pytest.fixture(scope="module")
def served(make_home, make_world, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("serving")
    server = Served(make_world(make_home(folder), "digits"), folder)
    try:
        server.until(lambda: server.client.get("/readyz").status_code == 200, 180)
        yield server
    finally:
        try:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.process.pid, signal.SIGTERM)
            server.process.wait(timeout=60)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.process.pid, signal.SIGKILL)
            server.process.wait(timeout=60)


def images(*digits: int) -> list[Any]:
    return np.eye(64, dtype=np.float32)[list(digits)].reshape(-1, 1, 8, 8).tolist()


def test_it_is_ready_without_a_model_and_says_so(served: Served) -> None:
    answer = served.predict(images(1))
    assert (answer.status_code, problem_of(answer)["detail"]) == (404, "no model 'digits' is served; served: none")
    assert served.status()["models"] == {}


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz", "/metrics"])
def test_probes_need_no_token(served: Served, path: str) -> None:
    assert httpx.get(f"{served.url}{path}", trust_env=False).status_code == 200


@pytest.mark.parametrize("path", ["/", "/status", "/predict", "/docs.json", "/livez/../status", "/schema.json"])
@pytest.mark.parametrize("header", [None, "", TOKEN, f"Bearer {TOKEN}x", f"Basic {TOKEN}", "Bearer"])
def test_everything_else_needs_the_token(served: Served, path: str, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    answer = httpx.request("GET", f"{served.url}{path}", headers=headers, trust_env=False)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert "Bearer" in answer.json()["error"]


def _series(served: Served) -> set[str]:
    text = httpx.get(f"{served.url}/metrics", trust_env=False).text
    return {line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")}


def test_unknown_paths_make_no_series(served: Served) -> None:
    for headers in ({}, dict(served.client.headers)):
        httpx.get(f"{served.url}/{uuid.uuid4()}", headers=headers, trust_env=False)
        before = _series(served)
        for _ in range(3):
            httpx.get(f"{served.url}/{uuid.uuid4()}", headers=headers, trust_env=False)
        assert _series(served) == before
    assert 'airloom_requests_total{route="other",status="401"}' in before
    assert 'airloom_requests_total{route="other",status="404"}' in before


def test_no_port_is_open_but_its_own(served: Served) -> None:
    """BentoML's supervisor took commands from anybody on this machine, such as to start a program."""
    server = psutil.Process(served.process.pid)
    connections = [one for process in (server, *server.children(True)) for one in process.net_connections("inet")]
    listening = {(one.laddr.ip, one.laddr.port) for one in connections if one.status == psutil.CONN_LISTEN}
    assert listening == {("127.0.0.1", int(served.url.rpartition(":")[2]))}


def test_the_documentation_describes_our_routes(served: Served) -> None:
    assert served.client.get("/docs", follow_redirects=True).headers["content-type"].startswith("text/html")
    document = served.client.get("/docs.json").raise_for_status().json()
    predict = document["paths"]["/predict"]["post"]
    assert {"200", "401", "413", "422", "503"} <= set(predict["responses"])
    asked = predict["requestBody"]["content"]["application/json"]["schema"]
    if "$ref" in asked:
        asked = document["components"]["schemas"][asked["$ref"].rpartition("/")[2]]
    assert set(asked["properties"]) == {"model", "instances", "scores", "top"}
    assert "get" in document["paths"]["/status"]
    shown = {(path, method) for path, methods in document["paths"].items() for method in methods}
    assert {("/v1/models/{model}/predict", "post"), ("/v2/models/{model}/infer", "post")} <= shown
    assert set(ROUTES) <= set(document["paths"])


def test_the_first_champion_comes_to_serve(served: Served) -> None:
    first = served.world.register("first")
    settings = replace(served.settings, server_url=served.url, server_token=TOKEN)
    record.deploy(settings, "digits", first.version)
    lines: list[str] = []
    serving.wait_until_served(settings, "digits", first.version, 60, lines.append)
    assert lines == ["digits version 1 is served"]
    found = served.predict(images(3, 7)).raise_for_status().json()
    assert (found["predictions"], found["model"], found["version"]) == ([3, 7], "digits", "1")
    assert len({uuid.UUID(one) for one in found["prediction_ids"]}) == 2
    assert all(prediction_id.matches(one, "digits", "1") for one in found["prediction_ids"])


def test_bentomls_own_client_asks(served: Served) -> None:
    import bentoml

    with bentoml.SyncHTTPClient(served.url, token=TOKEN, server_ready_timeout=30) as client:
        assert client.is_ready()
        found = client.predict(model="digits", instances=images(4, 2), top=1)
        served.answered += 2
        assert (found["predictions"], found["version"]) == ([4, 2], "1")
        assert [row[0]["class"] for row in found["top"]] == [4, 2]
        with pytest.raises(bentoml.exceptions.BentoMLException, match="no model 'other' is served"):
            client.predict(model="other", instances=images(4))


def test_the_open_inference_protocol_answers_beside_it(served: Served) -> None:
    rows = np.asarray(images(4, 2), np.float32)
    head = {"name": "input", "datatype": "FP32", "shape": [2, 1, 8, 8]}
    head |= {"parameters": {"binary_data_size": rows.nbytes}}
    text = json.dumps({"inputs": [head], "parameters": {"binary_data_output": True}}).encode()
    headers = {"Inference-Header-Content-Length": str(len(text))}
    told = served.client.post("/v2/models/digits/infer", content=text + rows.tobytes(), headers=headers)
    served.answered += 2
    size = int(told.raise_for_status().headers["inference-header-content-length"])
    about = json.loads(told.content[:size])
    scores = np.frombuffer(told.content[size:], np.float32).reshape(about["outputs"][0]["shape"])
    assert (scores.argmax(axis=1).tolist(), about["parameters"]["predictions"]) == ([4, 2], [4, 2])
    assert served.client.get("/v2/health/ready").status_code == 200


def test_tritons_own_client_asks(served: Served) -> None:
    triton = pytest.importorskip("tritonclient.http")
    client = triton.InferenceServerClient(served.url.removeprefix("http://"))
    mine = {"Authorization": f"Bearer {TOKEN}"}
    assert client.is_server_ready(headers=mine)
    assert client.is_model_ready("digits", headers=mine)
    rows = np.asarray(images(4, 2), np.float32)
    for binary in (True, False):
        asked = triton.InferInput("input", list(rows.shape), "FP32")
        asked.set_data_from_numpy(rows, binary_data=binary)
        output = client.get_model_metadata("digits", headers=mine)["outputs"][0]["name"]
        wanted = [triton.InferRequestedOutput(output, binary_data=binary)]
        answer = client.infer("digits", [asked], outputs=wanted, headers=mine)
        served.answered += 2
        assert answer.as_numpy(output).argmax(axis=1).tolist() == [4, 2]
    with pytest.raises(triton.InferenceServerException, match="no model 'other' is served"):
        client.infer("other", [asked], headers=mine)


@pytest.mark.parametrize("below", ["", "/v1/models/digits"])
def test_mlflows_own_client_asks_unchanged(served: Served, below: str) -> None:
    """It takes host and port alone: the token is a password in the one, the model's path stands behind the other."""
    from mlflow.pyfunc.scoring_server.client import ScoringServerClient
    from mlflow.version import VERSION

    port = served.url.rpartition(":")[2]
    client = ScoringServerClient(f"any:{TOKEN}@127.0.0.1", f"{port}{below}")
    client.wait_server_ready(timeout=5)
    assert client.get_version() == VERSION
    rows = np.asarray(images(4, 2), np.float32)
    for sent in (rows, rows.tolist()):
        answer = client.invoke(sent, params={"top": 2})
        served.answered += 2
        assert answer.get_predictions("ndarray").tolist() == [4, 2]
        assert [row[0]["class"] for row in answer["top"]] == [4, 2]
    with pytest.raises(Exception, match=r"error code 422, response: .*instance 1 has shape"):
        client.invoke([images(1)[0], [[1]]])
    with pytest.raises(Exception, match="error code 401"):
        ScoringServerClient("any:other@127.0.0.1", port).invoke(rows)


def test_the_example_of_a_model_can_be_sent_as_it_is(served: Served) -> None:
    about = served.client.get("/v1/models/digits").raise_for_status().json()
    assert (about["task"], about["classes"], about["version"]) == ("classification", list(range(10)), "1")
    answer = served.client.post("/v1/models/digits/versions/1/predict", json=about["example"]).raise_for_status()
    served.answered += 1
    assert answer.headers["x-airloom-model-version"] == "1"
    assert [answer.headers["x-airloom-prediction-id"]] == answer.json()["prediction_ids"]
    assert answer.headers["x-request-id"]
    rows = np.asarray(images(4, 2), np.float32).tobytes()
    raw = {"Content-Type": "application/octet-stream"}
    told = served.client.post("/v1/models/digits/predict?top=1", content=rows, headers=raw)
    served.answered += 2
    assert told.raise_for_status().json()["predictions"] == [4, 2]


def test_the_servers_log_has_a_line_for_a_request_with_its_id(served: Served) -> None:
    time.sleep(1.1)  # a second's first lines are written
    served.client.get("/v1/models", headers={"X-Request-Id": "asked-here"}).raise_for_status()
    served.until(lambda: "GET /v1/models 200" in served.log.read_text())
    (line,) = [line for line in served.log.read_text().splitlines() if "request=asked-here" in line]
    assert "[INFO]" in line


def test_probabilities_come_when_they_are_wanted(served: Served) -> None:
    answer = served.predict(images(3), scores=True, top=2).json()
    assert answer["classes"] == list(range(10))
    (row,), (best,) = answer["scores"], answer["top"]
    assert sum(row) == pytest.approx(1)
    assert max(row) == row[3] == best[0]["score"] == pytest.approx(np.exp(8) / (np.exp(8) + 9))
    assert (best[0]["class"], len(best)) == (3, 2)


def test_predictions_are_logged(served: Served) -> None:
    answer = served.predict(images(5), top=1)
    (one,), ((best,),) = answer.json()["prediction_ids"], answer.json()["top"]

    entry = served.until(lambda: prediction_log.find(served.settings, one))
    assert (entry.model, entry.version, entry.prediction, entry.value) == ("digits", "1", "5", 5.0)
    assert (entry.rows, entry.role, entry.request) == (1, "champion", answer.headers["x-request-id"])
    assert entry.score == pytest.approx(best["score"])
    assert (len(entry.top), entry.inputs) == (3, None)
    assert entry.latency_ms > 0
    assert entry.latency_ms != pytest.approx(round(entry.latency_ms), abs=1e-4)  # uvloop's clock has whole ones only


def test_predictions_are_counted(served: Served) -> None:
    def counted() -> int:
        return totals.predictions(served.settings).get(("digits", "1"), 0)

    served.predict(images(1, 2, 3, 4)).raise_for_status()
    served.until(lambda: counted() == served.answered)
    assert served.status()["counting"] == "ok"


@pytest.mark.parametrize(
    ("rows", "wanted"),
    [
        ([], "(n, 1, 8, 8)"),
        ([1.0], "(n, 1, 8, 8)"),
        ([[0] * 64], "shape (n, 1, 8, 8) of numbers; instance 0 has shape (64,)"),
        ([[[[0] * 8] * 8], [[[0] * 8] * 7]], "instance 1 has shape (1, 7, 8)"),
        ([[[[0] * 8] * 7 + [[0] * 7]]], "instance 0 is ragged"),
        ([[[["1"] * 8] * 8]], "instance 0 holds text"),
        ([[[[None] * 8] * 8]], "instance 0 holds null"),
        ([[[[1e39] * 8] * 8]], "too large"),
    ],
)
def test_instances_that_do_not_fit_are_explained(served: Served, rows: Any, wanted: str) -> None:
    answer = served.predict(rows)
    assert answer.status_code == 422
    assert wanted in answer.json()["error"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"model": "digits"}', b'{"model": 1, "instances": []}'])
def test_a_body_of_another_form_is_a_bad_request(served: Served, body: bytes) -> None:
    answer = served.client.post("/predict", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_a_literal_nan_is_no_json(served: Served) -> None:
    assert served.client.post("/predict", content=b'{"model": "digits", "instances": [NaN]}').status_code == 400


def test_other_ways_in_are_closed(served: Served) -> None:
    for method, path, status in (("GET", "/predict", 405), ("GET", "/nothing", 404), ("POST", "/schema.json", 405)):
        answer = served.client.request(method, path)
        assert (answer.status_code, problem_of(answer)["status"]) == (status, status)
    found = problem_of(served.predict(images(1), model="other"))
    assert (found["detail"], found["model"]) == ("no model 'other' is served; served: digits", "other")


def test_bodies_have_a_limit(served: Served) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(LIMIT // 2**20 + 1):
            yield b" " * 2**20

    for content in (b" " * (LIMIT + 1), chunks()):
        with contextlib.suppress(httpx.WriteError):  # it answered and hung up while the body was still being sent
            assert served.client.post("/predict", content=content).status_code == 413
    assert served.predict([[[[0] * 8] * 8]] * 10_001).status_code == 413
    assert served.predict(images(2)).json()["predictions"] == [2]


def test_tokens_are_made_damaged_and_taken_back_without_a_restart(served: Served) -> None:
    made, text = tokens.create(served.settings, "shop", ["predict:digits"])
    body, file = {"instances": images(6)}, tokens.file_of(served.settings)
    headers = {"Authorization": f"Bearer {text}"}

    def status(path: str = "/v1/models/digits/predict", method: str = "POST") -> int:
        asked = body if method == "POST" else None
        answer = httpx.request(method, f"{served.url}{path}", headers=headers, json=asked, trust_env=False)
        served.answered += answer.is_success and method == "POST"
        return answer.status_code

    served.until(lambda: status() == 200, 2)
    assert (status("/status", "GET"), status("/v1/models/other/predict"), status("/", "GET")) == (403, 403, 200)
    good = file.read_text()
    file.write_text(good[:-9])
    served.until(lambda: "tokens.json" in served.status()["tokens"])
    assert status() == 200
    file.write_text(good)
    served.until(lambda: served.status()["tokens"] == "ok")
    tokens.revoke(served.settings, made.id)
    served.until(lambda: status() == 401, 2)


def test_no_route_takes_a_pickle_or_a_websocket(served: Served) -> None:
    for path in ("/predict", "/predict/", "/", "/schema.json", "/docs.json", "/livez", "/metrics", "/v2", "/nothing"):
        for method in ("GET", "POST", "PUT"):
            headers = {"Content-Type": "application/vnd.bentoml+pickle", "Args-Number": "1"}
            answer = served.client.request(method, path, headers=headers, content=b"cos\nsystem\n(S'true'\ntR.")
            assert (answer.status_code, "pickles are not read" in problem_of(answer)["detail"]) == (415, True), path
    accepted = served.client.get("/v1/models", headers={"Accept": "application/vnd.bentoml+pickle"})
    assert accepted.headers["content-type"] == "application/json"
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "eA==",
    }
    assert 400 <= served.client.get("/predict", headers=upgrade).status_code < 500


def test_connections_that_wait_for_ever_are_ended(served: Served) -> None:
    """What uvicorn itself lets wait; `test_connections.py` has all of it with shorter limits."""
    starts = [b"", b"GET / HT", b"POST /livez HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n1"]
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        port = int(served.url.rpartition(":")[2])
        clients = [stack.enter_context(socket.create_connection(("127.0.0.1", port), 30)) for _ in starts]
        for client, sent in zip(clients, starts, strict=True):
            client.sendall(sent)
        with socket.create_connection(("127.0.0.1", port), 30) as endless, contextlib.suppress(ConnectionError):
            endless.sendall(b"GET / HTTP/1.1\r\n")
            for _ in range(500):
                endless.sendall(b"x-more: " + b"x" * 1000 + b"\r\n")
                time.sleep(0.001)
            raise AssertionError("half a megabyte of headers was taken")
        assert served.predict(images(2)).json()["predictions"] == [2]  # meanwhile others are answered
        answers = [b"".join(iter(lambda client=client: client.recv(2**16), b"")) for client in clients]
    assert [answer[:12] for answer in answers] == [b"", b"HTTP/1.1 408", b"HTTP/1.1 405"]
    assert time.monotonic() - began < 25


def test_an_alias_moved_by_a_plain_client_is_followed_without_a_restart(served: Served) -> None:
    second = served.world.register("second", wrong=(3,))
    before = served.status()["pid"]
    served.alias(second.version)
    served.until(lambda: served.serves("2"))
    assert served.status()["pid"] == before
    assert served.predict(images(3)).json()["predictions"] == [4]


def test_no_request_fails_while_versions_change(served: Served) -> None:
    served.alias("1")
    wrong = []
    end = time.monotonic() + 60
    while time.monotonic() < end and not served.serves("1"):
        found = served.predict(images(3)).raise_for_status().json()
        wrong += [found] if (found["version"], found["predictions"]) not in (("1", [3]), ("2", [4])) else []
    assert wrong == []
    assert served.serves("1")


def _flip(served: Served, version: str) -> None:
    uri = models.uri_of(models.get_version(served.settings, "digits", version))
    file = served.world.store_file(uri)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def _forget(served: Served, version: str) -> None:
    runs.client(served.settings).delete_model_version_tag("digits", version, "airloom.digests")


def _unsign(served: Served, version: str) -> None:
    runs.client(served.settings).delete_model_version_tag("digits", version, "airloom.signed")


@pytest.mark.parametrize(
    ("harm", "spoil", "wanted"),
    [
        (_flip, False, "model.onnx is damaged"),
        (_forget, False, "its tags in MLflow were changed"),
        (_unsign, False, "is not signed"),
        (None, True, "golden answers"),
    ],
    ids=["flipped byte", "no digests", "no signature", "other golden answers"],
)
def test_what_cannot_be_trusted_is_refused_and_the_old_version_stays(served, harm, spoil, wanted, request) -> None:
    bad = served.world.register(f"bad {request.node.callspec.id}", wrong=(8,), spoil_golden=spoil).version
    if harm:
        harm(served, bad)
    served.alias(bad)
    served.until(lambda: f"version {bad}: " in served.status()["errors"].get("digits", ""))
    assert wanted in served.status()["errors"]["digits"]
    assert served.serves("1")
    assert served.predict(images(8)).json()["predictions"] == [8]
    settings = replace(served.settings, server_url=served.url, server_token=TOKEN)
    with pytest.raises(StackError, match=wanted):
        serving.wait_until_served(settings, "digits", bad, 1, print)
    served.alias("1")
    served.until(lambda: "digits" not in served.status()["errors"])


def test_it_serves_on_when_mlflow_is_away(served: Served) -> None:
    store = served.settings.home / "mlflow"
    away = store.rename(store.with_name("away"))
    try:
        store.write_text("no folder")
        served.until(lambda: "registry" in served.status()["errors"])
        assert served.predict(images(6)).json()["predictions"] == [6]
    finally:
        store.unlink()
        away.rename(store)
    served.alias("2")
    served.until(lambda: served.serves("2"))
    assert "registry" not in served.status()["errors"]


def test_what_is_queued_is_written_at_the_end(served: Served) -> None:
    before = sum(totals.predictions(served.settings).values())
    ids = served.predict(images(*range(10)) * 100).json()["prediction_ids"]
    served.process.send_signal(signal.SIGTERM)
    served.process.wait(timeout=60)
    rows = ds.dataset(served.settings.prediction_log, partitioning="hive").to_table().to_pydict()
    assert len(ids) == 1000
    assert set(ids) <= set(rows["id"])
    after = sum(totals.predictions(served.settings).values())
    assert after - before >= 1000
    assert after == len(rows["id"])  # nothing was sampled away


def test_the_model_metrics_then_have_each_request_and_each_prediction(served: Served) -> None:
    """The counts of the server's last seconds too."""
    metric_aggregator.now(served.settings)
    rows = metric_query.records(metric_query.table(served.settings, metric_query.ask(served.settings, "digits")))
    logged = ds.dataset(served.settings.prediction_log, partitioning="hive").to_table(columns=["id"])
    assert {row.role for row in rows} == {"champion"}
    assert sum(row.predictions for row in rows) == sum(sum(row.answers.values()) for row in rows) == len(logged)
    refused = sum(row.errors.get("refused", 0) for row in rows)
    answered = sum(row.requests - sum(row.errors.values()) for row in rows)
    assert refused >= 8  # those of `test_instances_that_do_not_fit_are_explained`
    assert 0 < answered < len(logged)  # one of them had a thousand rows
