"""`airloom.load_model(…).predict(rows)`: the server's answer to the same rows, without a server."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd  # noqa: TID253 - frames are rows too
import pyarrow as pa
import pytest
from PIL import Image
from starlette.testclient import TestClient

import airloom
from airloom.errors import (
    ConfigError,
    CorruptFile,
    DataError,
    InstancesRefused,
    RegistryError,
    SignatureRefused,
    StateError,
)
from airloom.registry import keys, model_files, models
from airloom.settings import Settings
from airloom.tracking import runs
from airloom.tracking.tags import Tag
from airloom_serving.api import build
from airloom_serving.served import ServedModel
from airloom_serving.server import Server

GENERATOR = np.random.default_rng(1)
PICTURES = GENERATOR.integers(0, 256, (2500, 1, 4, 4), np.uint8)
ROWS = {
    "pictures": (PICTURES / np.float32(255)).tolist(),
    "bytes": PICTURES.tolist(),
    "texts": [" ".join(GENERATOR.choice(["well", "made", "BROKE", "never seen", "!"], 9)) for _ in range(1500)] + [""],
    "table": np.round(GENERATOR.normal(400, 900, (1500, 2)), 3).tolist(),
    "prices": np.round(GENERATOR.normal(400, 900, (1500, 2)), 3).tolist(),
}
BAD = {
    "pictures": [[[[[2.0] * 4] * 4]], [[[0.5] * 4] * 4], [[[[None] * 4] * 4]], [[[["0"] * 4] * 4]]],
    "bytes": [[[[[256] * 4] * 4]], [[[[-1] * 4] * 4]]],
    "texts": [[7], [None], [["well"]], [{"text": "well"}]],
    "table": [[[1.0]], [[1.0, None]], [["a", 2.0]], [[True, 1.0]], [[1.0, 1e300]], [[1.0, [2.0]]], [{"miles": 1}]],
}


@pytest.fixture(scope="module")
def client(home):
    """The server's own app with the champions, which no process had to try before."""
    server = Server()
    for kind in ROWS:
        version = models.find(home, kind)
        folder, digests = model_files.fetch_signed(home, version, home.home / "cache" / "served")
        served = ServedModel.load(version.name, str(version.version), folder, digests, checked=True)
        server.reconciler.models[kind] = served
    return TestClient(build(server), raise_server_exceptions=False)


@pytest.fixture(scope="module")
def loaded(home):
    return {kind: airloom.load_model(kind) for kind in ROWS}


@pytest.mark.parametrize("kind", ROWS)
def test_the_answer_is_the_servers(client, loaded, kind):
    """Of rows for several parts, with every bit of the scores."""
    model, more = loaded[kind], {} if kind == "prices" else {"scores": True, "top": 2}
    answer = client.post("/predict", json={"model": kind, "instances": ROWS[kind], **more}).json()
    del answer["prediction_ids"]
    if more:
        assert model.predict(ROWS[kind], **more) == answer
        assert model.classes == answer["classes"]
    assert model.predict(ROWS[kind]) == answer["predictions"]
    assert (model.name, model.version) == (kind, answer["version"])


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_row_is_refused_in_the_servers_words(client, loaded, kind):
    for number, wrong in enumerate([[], *BAD[kind]]):
        rows = [*ROWS[kind][:number], *wrong] if wrong else []
        answer = client.post("/predict", json={"model": kind, "instances": rows})
        with pytest.raises(InstancesRefused) as refusal:
            loaded[kind].predict(rows)
        assert (answer.status_code, answer.json()["error"]) == (422, str(refusal.value))


def test_a_bad_row_is_counted_from_the_first_of_all(loaded):
    rows = [*ROWS["table"], [1.0, float("nan")]]
    with pytest.raises(InstancesRefused, match="instance 1500 holds nan in the column 'hour'"):
        loaded["table"].predict(rows)
    with pytest.raises(InstancesRefused, match="instance 1500 holds nan in the column 'hour'"):
        loaded["table"].predict(np.array(rows))
    with pytest.raises(InstancesRefused, match="instance 1501 is null"):
        loaded["texts"].predict([*ROWS["texts"], None])
    with pytest.raises(InstancesRefused, match=r"instance 2499 holds 1.5; its pixels lie in 0..1 \(divide bytes"):
        loaded["pictures"].predict([*ROWS["pictures"][:2499], np.full((1, 4, 4), 1.5)])


def test_a_table_comes_in_many_forms(loaded):
    model, rows = loaded["table"], ROWS["table"]
    expected, array = model.predict(rows, scores=True), np.array(rows)
    frame = pd.DataFrame({"label": "late", "hour": array[:, 1], "miles": array[:, 0]})
    table = pa.Table.from_pandas(frame)
    for form in (array, frame, table, list(array), [tuple(map(np.float64, row)) for row in rows], iter(rows)):
        assert model.predict(form, scores=True) == expected
    whole = array.astype(np.int32)
    assert model.predict(whole) == model.predict(whole.tolist()) == model.predict(whole.astype(np.float16).tolist())
    with pytest.raises(DataError, match="the column 'hour', which the frame has not") as refusal:
        model.predict(frame.rename(columns={"hour": "hours"}))
    assert "did you mean hours?" in str(refusal.value)
    with pytest.raises(InstancesRefused, match="instance 1 holds text in the column 'hour'"):
        model.predict(pd.DataFrame({"miles": [1, 2], "hour": [3, "late"]}))
    with pytest.raises(InstancesRefused, match="datetime64"):
        model.predict(pd.DataFrame({"miles": [1], "hour": [pd.Timestamp(0)]})[["hour", "hour"]].to_numpy())
    with pytest.raises(InstancesRefused, match="instance 0 holds a value of the type NAType"):
        model.predict(pd.DataFrame({"miles": pd.array([None], "Int64"), "hour": [1]}))


@pytest.mark.parametrize("kind", ["pictures", "bytes"])
def test_pictures_come_in_many_forms(loaded, kind, tmp_path):
    model, some = loaded[kind], PICTURES[:5]
    expected = model.predict(ROWS[kind][:5], top=1)
    images = [Image.fromarray(pixels[0]) for pixels in some]
    files = [tmp_path / f"{number}.png" for number in range(5)]
    for file, image in zip(files, images, strict=True):
        image.save(file)
    arrays = some if kind == "bytes" else some / np.float32(255)
    for form in (images, files, list(map(str, files)), arrays, list(arrays), [files[0], *images[1:]]):
        assert model.predict(form, top=1) == expected
    with pytest.raises(InstancesRefused, match=r"instance 1 has shape \(3, 4, 4\)"):
        model.predict([files[0], images[1].convert("RGB")])
    with pytest.raises(InstancesRefused, match=r"instance 1: .*nothing.png is no whole image"):
        model.predict([files[0], tmp_path / "nothing.png"])
    with pytest.raises(ConfigError, match="this is one Image"):
        model.predict(images[0])


def test_texts_come_in_many_forms(loaded):
    model, rows = loaded["texts"], ROWS["texts"]
    expected = model.predict(rows)
    for form in (tuple(rows), pd.Series(rows), np.array(rows), np.array(rows, object), (row for row in rows)):
        assert model.predict(form) == expected
    with pytest.raises(ConfigError, match="this is one str"):
        model.predict("well made")
    with pytest.raises(DataError, match="a frame is for a model of a table"):
        model.predict(pd.DataFrame({"text": rows}))


@pytest.mark.parametrize(
    ("wanted", "message"),
    [({"scores": 1}, "scores is 1"), ({"top": 0}, "top is 0"), ({"top": True}, "top is True"), ({"top": 1.5}, "top")],
)
def test_what_is_wanted_is_judged(loaded, wanted, message):
    with pytest.raises(ConfigError, match=message):
        loaded["texts"].predict(["well"], **wanted)


def test_numbers_have_no_probabilities(loaded):
    with pytest.raises(InstancesRefused, match="it has no probabilities"):
        loaded["prices"].predict([[1, 2]], scores=True)
    assert loaded["prices"].classes == []


def test_it_says_what_it_is(home, loaded):
    (asked,) = loaded["table"].inputs
    assert all(model.version == "1" for model in loaded.values())
    assert (asked.dtype, asked.shape, asked.columns) == ("float32", (2,), ("miles", "hour"))
    assert [(one.dtype, one.shape) for one in loaded["texts"].inputs] == [("text", ())]
    assert [(one.dtype, one.shape) for one in loaded["pictures"].inputs] == [("float32", (1, 4, 4))]
    model = loaded["table"]
    assert repr(model) == "<table/1: float32 2 → late, on time>"
    assert model.metrics == {"accuracy": 1.0}
    assert "table version 1" in model.card._repr_markdown_()
    assert model.trace().model.name == "table"
    assert model.details.signed_by


def test_a_version_is_named_as_everywhere(home, loaded):
    for name in ("table", "table/1", "table@champion", "models:/table/1"):
        assert airloom.load_model(name).version == "1"
    with pytest.raises(RegistryError, match=r"has no alias 'v1'\n.*a version is written table/1; it has champion@1"):
        airloom.load_model("table@v1")
    with pytest.raises(RegistryError, match=r"no registered model tabel\n.*did you mean table\?"):
        airloom.load_model("tabel")
    with pytest.raises(RegistryError, match="no version 9 of model table"):
        airloom.load_model("table/9")
    with pytest.raises(RegistryError, match="names no model version"):
        airloom.load_model("table@")


def tag(home, kind, number, name, value):
    api = runs.client(home)
    api.set_model_version_tag(kind, number, name, value) if value else api.delete_model_version_tag(kind, number, name)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (Tag.SIGNED, "", "is not signed"),
        (Tag.METRICS, '{"accuracy": 1.5}', "its tags in MLflow were changed"),
        (Tag.DIGESTS, "", "its tags in MLflow were changed"),
    ],
)
def test_what_nobody_vouches_for_is_refused(home, register, name, value, message):
    number = register(home, "table")
    tag(home, "table", number, name, value)
    with pytest.raises(SignatureRefused, match=message):
        airloom.load_model(f"table/{number}")


def test_a_model_that_nobody_here_registered_is_refused(home):
    """As anybody makes it with a plain client, with the address of files that we made."""
    uri = models.uri_of(models.get_version(home, "table", "1"))
    api = runs.client(home)
    api.create_registered_model("other.table")
    api.create_model_version("other.table", uri, tags={Tag.STATE: "ready", Tag.MODEL_URI: uri})
    with pytest.raises(SignatureRefused, match=r"version 1 of other\.table is not signed"):
        airloom.load_model("other.table/1")


def test_another_installations_model_is_taken_when_its_key_is_trusted(home, register, tmp_path, monkeypatch):
    """Two homes in one MLflow; each names the other's model with the installation's name before it."""
    other = Settings(home=tmp_path / "home", project=tmp_path, namespace="prod", tracking_uri=home.mlflow_uri)
    number = register(other, "table")
    with pytest.raises(SignatureRefused, match=r"prod\.table is signed by the key .*, which is not trusted here"):
        airloom.load_model(f"prod.table/{number}")
    (tmp_path / "their.pem").write_text(keys.public_pem(keys.trusted(other)[keys.signing_key(other).id]))
    keys.trust(home, tmp_path / "their.pem", "prod")
    theirs, rows = airloom.load_model(f"prod.table/{number}"), ROWS["table"][:5]
    assert (theirs.name, theirs.predict(rows, top=1)["model"]) == ("prod.table", "prod.table")
    assert theirs.card and theirs.metrics
    for name, value in (("HOME", str(other.home)), ("NAMESPACE", "prod"), ("TRACKING_URI", home.mlflow_uri)):
        monkeypatch.setenv(f"AIRLOOM_{name}", value)
    same = airloom.load_model(f"table/{number}")
    assert (same.name, same.predict(rows)) == ("table", theirs.predict(rows))
    with pytest.raises(SignatureRefused, match="which is not trusted here"):
        airloom.load_model(".table/1")


def test_a_model_that_answers_otherwise_is_refused(home, make_world):
    make_world(home, "tiny").register("one", spoil_golden=True)
    with pytest.raises(CorruptFile, match="tiny version 1 differs from its golden answers"):
        airloom.load_model("tiny/1")


def test_a_damaged_file_is_refused_and_a_damaged_copy_is_fetched_again(home, register):
    number = register(home, "texts")
    uri = models.uri_of(models.get_version(home, "texts", number))
    airloom.load_model(f"texts/{number}")
    copy = home.home / "cache" / "models" / uri.rpartition("/")[2] / "extra_files" / "model.onnx"
    whole = copy.read_bytes()
    copy.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    airloom.load_model(f"texts/{number}")
    assert copy.read_bytes() == whole
    (stored,) = (home.home / "mlflow").glob(f"**/{uri.rpartition('/')[2]}/artifacts/**/model.onnx")
    for file in (copy, stored):
        file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(CorruptFile, match=r"model\.onnx is damaged"):
        airloom.load_model(f"texts/{number}")


def test_a_version_whose_files_were_collected_says_so(home, register):
    number = register(home, "prices")
    tag(home, "prices", number, Tag.COLLECTED, "2026-01-01")
    with pytest.raises(RegistryError, match=f"the files of version {number} of prices were collected on 2026-01-01"):
        airloom.load_model(f"prices/{number}")


def test_a_home_that_takes_no_files_is_told(home, register, tmp_path, monkeypatch):
    number = register(home, "bytes")
    cache = home.home / "cache" / "models"
    away = cache.rename(cache.with_name("away"))
    cache.write_text("no folder")
    try:
        with pytest.raises(StateError, match="cannot be kept in"):
            airloom.load_model(f"bytes/{number}")
    finally:
        cache.unlink()
        away.rename(cache)


def test_a_home_without_a_store_stays_without_one(tmp_path, monkeypatch):
    monkeypatch.setenv("AIRLOOM_HOME", str(tmp_path / "none"))
    with pytest.raises(RegistryError, match="nothing was run here yet"):
        airloom.load_model("table")
    assert not (tmp_path / "none").exists()


def test_without_onnx_runtime_it_says_what_to_install(home, monkeypatch):
    monkeypatch.setattr("airloom.interactive.models.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match="onnxruntime"):
        airloom.load_model("table")


def test_the_door_loads_nothing_before_it_is_used():
    heavy = ["numpy", "pandas", "onnxruntime", "mlflow", "torch", "pyarrow", "PIL", "pydantic", "dvc", "optuna"]
    code = f"import sys, airloom; airloom.load_model, airloom.run; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd())
    assert done.stdout == "[]\n"
