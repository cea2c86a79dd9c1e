"""Whose token is good for what, on every route."""

import socket
import time

import pytest
from onnx import TensorProto
from starlette.testclient import TestClient

from airloom.pictures import Picture
from airloom.processing import Processing, Tokenise
from airloom.registry import tokens
from airloom.settings import Settings
from airloom_serving import access
from airloom_serving.access import Access, Bucket, Grant
from airloom_serving.api import build
from airloom_serving.metrics import Measured
from airloom_serving.security import Guard
from airloom_serving.served import ServedModel

OWN = "the-stacks-token"


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(home=tmp_path / "home", project=tmp_path)


@pytest.fixture
def looked(settings) -> Access:
    return Access(OWN, tokens.file_of(settings))


def of(looked: Access, token: str) -> Grant | None:
    return looked.of(f"Bearer {token}".encode())


def test_the_stacks_token_may_do_everything(looked):
    grant = of(looked, OWN)
    assert (grant.every_model, grant.admin, grant.metrics, grant.bucket) == (True, True, True, None)


@pytest.mark.parametrize("header", [b"", b"Bearer", b"Bearer ", OWN.encode(), b"Basic " + OWN.encode(), b"Bearer x"])
def test_an_unknown_token_may_do_nothing(looked, header):
    assert looked.of(header) is None
    assert Access("").of(header) is None


def test_all_of_a_digest_is_compared(looked):
    """It is looked up by its first bytes only."""
    digest = tokens.digest_of(OWN.encode())
    other = bytes([*digest[:-1], digest[-1] ^ 1])
    looked._table[0][digest[:8]] = Grant(other, every_model=True)
    assert of(looked, OWN) is None


def test_digests_are_compared_in_constant_time(looked, monkeypatch):
    asked = []
    monkeypatch.setattr(access.hmac, "compare_digest", lambda a, b: asked.append((a, b)) or a == b)
    assert of(looked, OWN) is not None
    assert of(looked, OWN) is not None  # found good once
    assert asked == [(tokens.digest_of(OWN.encode()),) * 2]


def test_tokens_are_made_and_taken_back_while_it_runs(settings, looked):
    made, text = tokens.create(settings, "shop", ["predict:digits"])
    assert of(looked, text) is None
    looked.look()
    grant = of(looked, text)
    assert [grant.may_ask(one) for one in ("digits", "photos")] == [True, False]
    assert (grant.admin, grant.metrics) == (False, False)
    tokens.revoke(settings, made.id)
    looked.look()
    assert of(looked, text) is None
    assert of(looked, OWN) is not None


def test_a_token_ends(settings, looked, monkeypatch):
    _, text = tokens.create(settings, "shop", ends="2090-01-01")
    looked.look()
    assert of(looked, text) is not None
    monkeypatch.setattr(access.time, "time", lambda: 4e9)
    assert of(looked, text) is None


@pytest.mark.parametrize("harm", ["", "{", '{"tokens": [{}]}', None])
def test_a_damaged_file_changes_nothing_and_is_told(settings, looked, harm):
    _, text = tokens.create(settings, "shop")
    looked.look()
    file = tokens.file_of(settings)
    good = file.read_text()
    file.unlink()
    if harm is not None:
        file.write_text(harm)
    looked.look()
    assert "tokens.json" in looked.problem
    assert of(looked, text) is not None
    anew = Access(OWN, file)  # a server that starts now
    assert (of(anew, text), of(anew, OWN) is not None, bool(anew.problem)) == (None, True, harm is not None)
    file.write_text(good)
    looked.look()
    assert looked.problem == ""


def test_a_bucket_is_kept_when_the_file_changes(settings, looked):
    _, text = tokens.create(settings, "shop", rate=0.001, burst=2)
    looked.look()
    assert of(looked, text).bucket.take() == 0
    tokens.create(settings, "other")
    looked.look()
    assert of(looked, text).bucket.take() == 0
    assert of(looked, text).bucket.take() > 900


def test_a_bucket_lets_so_many_through_a_second(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    bucket = Bucket(10, 3)
    assert [bucket.take() for _ in range(3)] == [0, 0, 0]
    assert bucket.take() == pytest.approx(0.1)
    passed = 0
    for _ in range(1000):
        now[0] += 0.01
        passed += bucket.take() == 0
    assert 99 <= passed <= 101
    now[0] -= 50  # no clock does, and nothing breaks where one did
    assert bucket.take() > 0


@pytest.fixture
def asked(server, settings, make_session):
    """A server of two models behind its guard, and a client for a token of each kind of scope."""
    server.reconciler.models = {
        name: ServedModel(name, "7", make_session(), (3,), steady=True, apart=True) for name in ("mine", "theirs")
    }
    made = {
        "mine": tokens.create(settings, "a", ["predict:mine"])[1],
        "all": tokens.create(settings, "b", ["predict"])[1],
        "admin": tokens.create(settings, "c", ["admin"])[1],
        "metrics": tokens.create(settings, "d", ["metrics"])[1],
        "stack": OWN,
    }
    app = Measured(Guard(build(server), Access(OWN, tokens.file_of(settings))), server.metrics)
    return {
        kind: TestClient(app, headers={"Authorization": f"Bearer {text}"}, raise_server_exceptions=False)
        for kind, text in made.items()
    } | {"none": TestClient(app)}


def ask(client, model, door):
    """The status of a request for predictions by each door."""
    if door == "body":
        return client.post("/predict", json={"model": model, "instances": [[1, 2, 3]]})
    if door == "path":
        return client.post(f"/v1/models/{model}/predict", json={"instances": [[1, 2, 3]]})
    version = "/versions/7" if door == "version" else ""
    tensor = {"name": "input", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}
    return client.post(f"/v2/models/{model}{version}/infer", json={"inputs": [tensor]})


@pytest.mark.parametrize("door", ["body", "path", "v2", "version"])
def test_predictions_need_the_scope_of_their_model(asked, door):
    wanted = {"mine": (200, 403), "all": (200, 200), "admin": (403, 403), "metrics": (403, 403), "stack": (200, 200)}
    for kind, statuses in wanted.items():
        assert tuple(ask(asked[kind], model, door).status_code for model in ("mine", "theirs")) == statuses, kind


@pytest.mark.parametrize("path", ["/v1/models/{}", "/v2/models/{}", "/v2/models/{}/ready", "/v2/models/{}/versions/7"])
def test_what_is_told_of_a_model_needs_its_scope_or_admin(asked, path):
    wanted = {"mine": (200, 403), "all": (200, 200), "admin": (200, 200), "metrics": (403, 403), "stack": (200, 200)}
    for kind, statuses in wanted.items():
        got = tuple(asked[kind].get(path.format(model)).status_code for model in ("mine", "theirs"))
        assert got == statuses, kind


def test_a_refusal_names_the_scope_and_no_other_tenant(asked):
    for model in ("theirs", "not_there"):
        answer = ask(asked["mine"], model, "path")
        assert answer.status_code == 403
        assert f"has not the scope predict:{model}" in answer.json()["error"]
        assert answer.headers["www-authenticate"] == f'Bearer error="insufficient_scope", scope="predict:{model}"'
    same = [ask(asked["mine"], model, "body").text.replace(model, "X") for model in ("theirs", "not_there")]
    assert same[0] == same[1]  # nobody learns what else is served
    missing = ask(asked["all"], "not_there", "body")
    assert (missing.status_code, "served: mine, theirs" in missing.text) == (404, True)
    strange = asked["mine"].post("/predict", json={"model": "é\n\x00" * 99, "instances": [1]})
    assert (strange.status_code, len(strange.text) < 1000) == (403, True)
    assert strange.headers["www-authenticate"] == 'Bearer error="insufficient_scope", scope="predict"'


def test_a_list_holds_what_the_token_is_for(asked):
    both, listed = ["mine", "theirs"], {"mine": ["mine"], "metrics": []}
    for kind in ("mine", "all", "admin", "metrics", "stack"):
        assert list(asked[kind].get("/v1/models").json()["models"]) == listed.get(kind, both)


def test_the_status_is_for_administrators(asked):
    wanted = {"mine": 403, "all": 403, "admin": 200, "metrics": 403, "stack": 200, "none": 401}
    assert {kind: client.get("/status").status_code for kind, client in asked.items()} == wanted
    assert asked["admin"].get("/status").json()["tokens"] == "ok"
    assert "scope admin" in asked["all"].get("/status").json()["error"]


def test_metrics_and_probes_say_nothing_of_tenants(server, asked):
    assert ask(asked["mine"], "mine", "body").status_code == 200
    for kind, whole in {"none": False, "mine": False, "all": False, "metrics": True, "admin": True}.items():
        text = asked[kind].get("/metrics").text
        assert 'airloom_requests_total{route="/predict",status="200"} 1.0' in text
        assert ('airloom_predictions_total{model="mine",version="7"}' in text, "mine" in text) == (whole, whole)
    assert TestClient(asked["none"].app, headers={"Authorization": "Bearer revoked"}).get("/metrics").status_code == 401
    server.reconciler._first = {"mine"}
    server.reconciler.models = {}
    for kind, whole in {"none": False, "mine": False, "admin": True}.items():
        answer = asked[kind].get("/readyz")
        assert (answer.status_code, "mine" in answer.text) == (503, whole)
    assert TestClient(asked["none"].app, headers={"Authorization": "Bearer revoked"}).get("/readyz").status_code == 503


def test_a_rate_is_kept_and_says_when_to_ask_again(server, settings, make_session):
    server.reconciler.models = {"mine": ServedModel("mine", "7", make_session(), (3,))}
    slow = tokens.create(settings, "slow", rate=0.5, burst=2)[1]
    other = tokens.create(settings, "other", rate=0.5, burst=2)[1]
    app = Guard(build(server), Access(OWN, tokens.file_of(settings)))
    client = TestClient(app, headers={"Authorization": f"Bearer {slow}"})
    answers = [ask(client, "mine", "body") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[-1].headers["retry-after"] in ("1", "2")
    assert "0.5 times a second" in answers[-1].json()["error"]
    assert client.get("/livez").status_code != 429
    assert ask(TestClient(app, headers={"Authorization": f"Bearer {other}"}), "mine", "body").status_code == 200


def test_an_address_is_a_value_and_nobody_fetches_it(server, make_session):
    """Of a file that it takes BentoML fetches an address, whoever sends it."""
    texts = Processing(tokenise=Tokenise(vocabulary=["http", "a"], length=4))
    photos = Processing(picture=Picture(height=2, width=2))
    server.reconciler.models = {
        "numbers": ServedModel("numbers", "1", make_session(), (3,)),
        "texts": ServedModel("texts", "1", make_session(shape=(4,), kind=TensorProto.INT64), (4,), texts, True),
        "photos": ServedModel("photos", "1", make_session("Flatten", (3, 2, 2)), (3, 2, 2), photos),
    }
    client = TestClient(Guard(build(server), OWN), headers={"Authorization": f"Bearer {OWN}"})
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.settimeout(0.2)
        address = f"http://127.0.0.1:{listening.getsockname()[1]}/picture.png"
        for model, status in {"numbers": 422, "texts": 200, "photos": 422}.items():
            rows = client.post(f"/v1/models/{model}/predict", json={"instances": [address]})
            tensor = {"name": "input", "datatype": "BYTES", "shape": [1], "data": [address]}
            tensors = client.post(f"/v2/models/{model}/infer", json={"inputs": [tensor]})
            assert (rows.status_code, tensors.status_code) == (status, status), (rows.text, tensors.text)
        for instances in (address, [{"url": address}], [{"b64": address}], [f"file:///{__file__}"]):
            assert client.post("/v1/models/photos/predict", json={"instances": instances}).status_code in (400, 422)
        form = {"files": {"instances": ("picture", b"x")}, "data": {"model": "photos", "instances": address}}
        assert client.post("/predict", **form).status_code == 400
        with pytest.raises(TimeoutError):
            listening.accept()
