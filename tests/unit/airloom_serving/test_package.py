"""A Bento of one version answers as the shared server, and needs neither registry nor home."""

import contextlib
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import httpx
import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from starlette.testclient import TestClient

import airloom
from airloom.errors import ConfigError, CorruptFile
from airloom.inference.model import Extras, LoadedModel
from airloom.monitoring import prediction_id
from airloom.processing import Processing
from airloom.registry import model_files, models, package
from airloom.registry.package import MANIFEST, Manifest
from airloom.tracking.artifacts import GOLDEN, ONNX
from airloom_serving.api import build
from airloom_serving.packaged import Packaged
from airloom_serving.security import Guard

TOKEN = "of-the-package"
NAMES = ["nil", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


@pytest.fixture(scope="module")
def world(make_home, make_world, tiny_onnx, tmp_path_factory):
    """With one version, whose classes have names."""
    made = make_world(make_home(tmp_path_factory.mktemp("packaged")), "digits")
    files, ctx = made.settings.home / "made" / "extra_files", made.ctx("first")
    files.mkdir(parents=True)
    tiny_onnx(files / "model.onnx", (3,))
    (files / "processing.json").write_text(Processing(labels=NAMES).model_dump_json(exclude_defaults=True))
    made.register_trained(ctx, made.log(ctx, files.parent))
    return made


@pytest.fixture
def laid(world, tmp_path) -> Path:
    """What `bentoml build` is given, with the model's files in `model`."""
    version = models.get_version(world.settings, "digits", "1")
    folder, digests = model_files.fetch_signed(world.settings, version, tmp_path / "cache")
    place = tmp_path / "laid"
    place.mkdir()
    package.lay_out(place, folder, Manifest.of(version, digests), "digits:1")
    return place


def rows() -> list:
    return np.random.default_rng(3).random((7, 1, 8, 8), np.float32).tolist()


def started(laid: Path, monkeypatch) -> tuple[Packaged, TestClient]:
    monkeypatch.setenv("AIRLOOM_SERVER_TOKEN", TOKEN)
    server = Packaged(laid / "model")
    server.start()
    return server, TestClient(Guard(build(server), server.access), headers={"Authorization": f"Bearer {TOKEN}"})


def test_it_answers_as_the_model_and_writes_nothing(world, laid, monkeypatch):
    before = {path for path in laid.rglob("*")}
    server, client = started(laid, monkeypatch)
    assert client.get("/readyz").status_code == 200
    body = {"instances": rows(), "scores": True}
    told = client.post("/v1/models/digits/predict", json=body).raise_for_status().json()
    version = models.get_version(world.settings, "digits", "1")
    folder, digests = model_files.fetch_signed(world.settings, version, laid.parent / "cache")
    model = LoadedModel.load("digits", "1", folder, digests)
    expected = model.answers(model.parse(rows()), Extras(scores=True))
    assert (told["predictions"], told["scores"]) == (expected.predictions, expected.scores)
    assert (told["model"], told["version"]) == ("digits", "1")
    assert set(told["predictions"]) <= set(NAMES)
    assert all(prediction_id.matches(one, "digits", "1") for one in told["prediction_ids"])
    assert "keeps no counts" in client.get("/status").json()["counting"]
    assert client.post("/predict", json={"model": "other", "instances": [1]}).status_code == 404
    server.stop()
    assert {path for path in laid.rglob("*")} == before


def _flip(model: Path) -> None:
    data = bytearray((model / ONNX).read_bytes())
    data[len(data) // 2] ^= 1
    (model / ONNX).write_bytes(data)


def _other_golden(model: Path) -> None:
    golden = {"inputs": np.zeros((1, 1, 8, 8)).tolist(), "outputs": np.ones((1, 10)).tolist()}
    (model / GOLDEN).write_text(json.dumps(golden))
    manifest = package.read(model)
    digest = hashlib.sha256((model / GOLDEN).read_bytes()).hexdigest()
    changed = manifest.with_(digests=manifest.digests | {GOLDEN: digest})
    (model / MANIFEST).write_text(json.dumps(changed.to_dict()))


def _remove(model: Path) -> None:
    (model / ONNX).unlink()


@pytest.mark.parametrize(
    ("harm", "wanted"),
    [(_flip, "is damaged"), (_other_golden, "golden answers"), (_remove, "cannot be read")],
    ids=["flipped byte", "other golden answers", "no graph"],
)
def test_what_is_not_what_was_packed_does_not_serve(laid, monkeypatch, harm, wanted):
    harm(laid / "model")
    _, client = started(laid, monkeypatch)
    assert wanted in client.get("/status").json()["errors"]["digits"]
    assert (client.get("/readyz").status_code, client.get("/livez").status_code) == (503, 404)  # BentoML's own
    assert client.post("/v1/models/digits/predict", json={"instances": rows()}).status_code == 404


def test_a_damaged_manifest_is_told(laid):
    for text in ("{}", "[]", ""):
        (laid / "model" / MANIFEST).write_text(text)
        with pytest.raises(CorruptFile, match=MANIFEST):
            package.read(laid / "model")


def test_without_a_token_nobody_is_let_in(laid, monkeypatch, caplog):
    monkeypatch.setenv("AIRLOOM_SERVER_TOKEN", "")
    server = Packaged(laid / "model")
    server.start()
    client = TestClient(Guard(build(server), server.access))
    assert client.post("/predict", headers={"Authorization": "Bearer "}, json={}).status_code == 401
    assert "AIRLOOM_SERVER_TOKEN is empty" in caplog.text


def test_the_name_of_a_bento_is_one():
    names = {"digits": "digits", "Digits_2": "digits_2", "_a": "a", "A.b-C": "a.b-c", "__": "model"}
    assert {name: package._bento_name(name) for name in names} == names


def test_something_at_the_output_stays(world, tmp_path):
    version = models.get_version(world.settings, "digits", "1")
    with pytest.raises(ConfigError, match="there is something at"):
        package.package(world.settings, version, print, tmp_path)


ALONE = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"a container has no {name}", name=name)

absent = set(sys.argv[1].split(","))
sys.meta_path.insert(0, Absent())
import service
server = service.Model.inner.server
server.start()
print(server.reconciler.models["digits"].version, server.reconciler.errors)
"""


def test_its_requirements_are_all_that_it_needs(laid):
    """What neither its requirements nor these bring cannot be imported; a container does not have it."""
    brought, left = {"airloom"}, list(package.PACKAGES)
    while left:
        name = canonicalize_name(left.pop())
        if name not in brought:
            brought.add(name)
            with contextlib.suppress(metadata.PackageNotFoundError):  # for another platform
                wanted = map(Requirement, metadata.requires(name) or [])
                left += [one.name for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]
    owners = metadata.packages_distributions()
    absent = [module for module, names in owners.items() if not {canonicalize_name(name) for name in names} & brought]
    assert {"mlflow", "pandas", "pyarrow", "dvc", "torch"} <= set(absent)
    command = [sys.executable, "-c", ALONE, ",".join(absent)]
    done = subprocess.run(command, cwd=laid, capture_output=True, text=True, check=False)
    assert done.stdout == "1 {}\n", done.stderr[-2000:]


@pytest.fixture(scope="module")
def bentos(tmp_path_factory) -> dict[str, str]:
    """An environment with a store of its own, and without a home."""
    folder = tmp_path_factory.mktemp("bentos")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRLOOM_", "MLFLOW_"))}
    return kept | {"BENTOML_HOME": str(folder / "store"), "BENTOML_DO_NOT_TRACK": "True"}


def test_a_bento_is_built_listed_exported_and_served(world, bentos, tmp_path, monkeypatch):
    monkeypatch.setenv("BENTOML_HOME", bentos["BENTOML_HOME"])
    version = models.get_version(world.settings, "digits", "1")
    made = package.package(world.settings, version, print, tmp_path / "digits.bento")
    assert (made.tag, made.model, made.version) == ("digits:1", "digits", "1")
    assert (tmp_path / "digits.bento").stat().st_size > 10_000
    with pytest.raises(airloom.errors.RegistryError, match="bentoml delete digits:1"):
        package.package(world.settings, version, print, None)
    listed = subprocess.run(
        [sys.executable, "-m", "bentoml", "list", "-o", "json"], env=bentos, capture_output=True, text=True, check=True
    )
    assert [one["tag"] for one in json.loads(listed.stdout)] == ["digits:1"]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = (tmp_path / "log").open("w")
    process = subprocess.Popen(
        [sys.executable, "-m", "bentoml", "serve", "digits:1", "--host", "127.0.0.1", "--port", str(port)],
        cwd=tmp_path,
        env=bentos | {"AIRLOOM_SERVER_TOKEN": TOKEN},
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as client:
            end = time.monotonic() + 180
            while time.monotonic() < end:
                with contextlib.suppress(httpx.TransportError):
                    if client.get("/readyz").status_code == 200:
                        break
                assert process.poll() is None, (tmp_path / "log").read_text()[-3000:]
                time.sleep(0.2)
            assert client.post("/predict", json={}).status_code == 401
            headers = {"Authorization": f"Bearer {TOKEN}"}
            body = {"model": "digits", "instances": rows(), "scores": True}
            told = client.post("/predict", headers=headers, json=body).raise_for_status().json()
            assert "/v1/models/{model}/predict" in client.get("/docs.json", headers=headers).json()["paths"]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=60)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        log.close()
    monkeypatch.setenv("AIRLOOM_HOME", str(world.settings.home))
    monkeypatch.setenv("AIRLOOM_PROJECT", str(world.settings.project))
    expected = airloom.load_model("digits/1").predict(rows(), scores=True)
    assert (told["predictions"], told["scores"]) == (expected["predictions"], expected["scores"])
    assert not (tmp_path / ".airloom").exists()
