"""A model trained here answers alike in the server and in plain MLflow, which knows nothing of Airloom."""

import hashlib
import json
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest
import torch  # noqa: TID253 - a test of training code
from torch import nn  # noqa: TID253 - as above

from airloom.contracts import RunContext, Snapshot
from airloom.errors import CorruptFile, InstancesRefused
from airloom.inference.model import LoadedModel
from airloom.processing import Processing, Tokenise
from airloom.tracking import artifacts, runs
from airloom.training.export.store import store_model
from airloom.training.normalise import Normalise

TEXTS = ["well made", "well done!", "broke at once", "it broke"]
# A stranger: mlflow, torch and numpy only; airloom and our serving cannot even be imported.
STRANGER = """
import json, os, sys
for name in ("airloom", "airloom_serving", "airloom_operators", "onnxruntime"):
    sys.modules[name] = None
import numpy as np, mlflow
answers = {}
for kind, address in json.loads(sys.argv[1]).items():
    os.mkdir(kind)  # not in the store itself: MLflow writes a file of its own beside what it loads
    model = mlflow.pyfunc.load_model(address, dst_path=kind)
    for size in (1, 7, 300):
        rows = np.load(f"{kind}-{size}.npy")
        answers[f"{kind}-{size}"] = np.asarray(model.predict(rows)).tolist()
json.dump(answers, open("answers.json", "w"))
"""
SIZES = (1, 7, 300)


class Words(nn.Module):
    """Mean of embeddings, without the padding (nn.EmbeddingBag would export to a loop)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.embedding, self.out = nn.Embedding(size, 8), nn.Linear(8, 2)

    def forward(self, tokens):
        mask = (tokens != 0).unsqueeze(-1).float()
        mean = (self.embedding(tokens) * mask).sum(1) / mask.sum(1).clamp_min(1.0)
        return self.out(mean)


def image_model():
    torch.manual_seed(0)
    images = torch.rand(64, 3, 8, 8) * 4
    model = nn.Sequential(Normalise.of(images), nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))
    return model.eval(), images[:2], Processing(labels=["a", "b", "c", "d", "e"])


def text_model():
    torch.manual_seed(0)
    tokenise = Tokenise.learn(TEXTS, size=20, length=6)
    example = torch.from_numpy(tokenise(TEXTS))[:2]
    return Words(tokenise.size).eval(), example, Processing(tokenise=tokenise, labels=["bad", "good"])


def rows_of(kind: str, size: int) -> np.ndarray:
    generator = np.random.default_rng(size)
    if kind == "image":
        return generator.random((size, 3, 8, 8), np.float32)
    return generator.integers(0, 10, (size, 6))


MODELS = {"image": image_model, "text": text_model}


@pytest.fixture(scope="module")
def settings(make_home, tmp_path_factory):
    """One store for all tests: each leaves it as it was."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
            patch.setenv(name, "")  # client() writes them
        yield make_home(tmp_path_factory.mktemp("alike"))


@pytest.fixture(scope="module")
def models(settings):
    """By kind the model, what was declared with it, and what was stored: an export takes seconds."""
    stored = {}
    for kind, make in MODELS.items():
        model, example, declared = make()
        experiment, parent = runs.ensure_parent(settings, "small", f"small/{kind}", {})
        snapshot = Snapshot("s", "small", 1, "v", "c", {"train": 1.0}, {})
        ctx = RunContext("small", "unused.yaml", f"small/{kind}", parent, experiment, snapshot)
        run = runs.ensure_child(runs.client(settings), ctx, "train")
        stored[kind] = model, declared, store_model(run, model, example, {}, {}, declared)
    return stored


@pytest.fixture(params=MODELS)
def stored(request, models):
    model, _, trained = models[request.param]
    return request.param, model, trained


@pytest.fixture(scope="module")
def stranger(settings, models, tmp_path_factory):
    """What the stranger answers to the rows of each kind and size; one process, as it takes seconds to import."""
    folder = tmp_path_factory.mktemp("stranger")
    for kind in models:
        for size in SIZES:
            np.save(folder / f"{kind}-{size}.npy", rows_of(kind, size))
    environment = {
        "MLFLOW_TRACKING_URI": settings.mlflow_uri,
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "HOME": str(folder),
        "PATH": "/usr/bin:/bin",
        "no_proxy": "*",
    }
    addresses = json.dumps({kind: trained.model_uri for kind, (_, _, trained) in models.items()})
    command = [sys.executable, "-c", STRANGER, addresses]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "answers.json").read_text())


@contextmanager
def changed(path, data):
    """The file with other bytes, for the block."""
    whole = path.read_bytes()
    path.write_bytes(data)
    try:
        yield
    finally:
        path.write_bytes(whole)


def served(settings, trained, tmp_path):
    folder = artifacts.fetch_model(settings, trained.model_uri, trained.digests, tmp_path / "cache" / "m")
    return LoadedModel.load("m", "1", folder, trained.digests)


def test_plain_mlflow_without_airloom_gives_the_served_answers(settings, stored, stranger, tmp_path):
    kind, model, trained = stored
    ours = served(settings, trained, tmp_path)
    for size in SIZES:
        expected = ours.outputs({"input": rows_of(kind, size)})["output"]
        assert np.abs(np.asarray(stranger[f"{kind}-{size}"]) - expected).max() <= 1e-5
        with torch.no_grad():
            assert np.abs(model(torch.from_numpy(rows_of(kind, size))).numpy() - expected).max() <= 1e-5


def test_the_server_takes_texts_and_answers_with_names(settings, models, tmp_path):
    model, declared, trained = models["text"]
    ours = served(settings, trained, tmp_path)
    with torch.no_grad():
        expected = model(torch.from_numpy(declared.tokenise(TEXTS))).argmax(1).tolist()
    assert ours.answers(ours.parse(TEXTS)).predictions == [["bad", "good"][number] for number in expected]
    for wrong in ([], [1, 2], "well", [["well"]], [None], {"a": 1}):
        with pytest.raises(InstancesRefused, match="list of texts"):
            ours.parse(wrong)


def test_a_flipped_byte_in_any_file_is_refused_before_it_is_parsed(settings, stored, tmp_path):
    _, _, trained = stored
    folder = artifacts.fetch_model(settings, trained.model_uri, trained.digests, tmp_path / "cache" / "m")
    for name in (artifacts.ONNX, artifacts.GOLDEN, artifacts.PROCESSING):
        whole = (folder / name).read_bytes()
        flipped = bytes([whole[0] ^ 1]) + whole[1:]
        with changed(folder / name, flipped), pytest.raises(CorruptFile, match=name.rpartition("/")[2]):
            LoadedModel.load("m", "1", folder, trained.digests)
    assert LoadedModel.load("m", "1", folder, trained.digests)


def test_each_stored_file_has_a_digest_and_a_flip_of_any_is_named(settings, stored, tmp_path):
    _, _, trained = stored
    root = next((settings.home / "mlflow").glob(f"**/{trained.model_uri.rpartition('/')[2]}/artifacts"))
    files = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
    assert set(files) <= set(trained.digests)
    for name, path in files.items():
        whole = path.read_bytes()
        with changed(path, whole[:-1] + bytes([whole[-1] ^ 1])), pytest.raises(CorruptFile) as refusal:
            artifacts.fetch_model(settings, trained.model_uri, trained.digests, tmp_path / "cache" / "m")
        assert name in str(refusal.value)


def test_a_hostile_program_with_a_forged_digest_beside_it_is_refused(settings, stored, tmp_path):
    """Digests stand in the registry; whatever lies beside the files counts for nothing."""
    _, _, trained = stored
    root = next((settings.home / "mlflow").glob(f"**/{trained.model_uri.rpartition('/')[2]}/artifacts"))
    (hostile,) = root.rglob("*.pt2")
    program = b"import os; os.abort()"
    sidecar = hostile.with_name(f"{hostile.name}.sha256")
    sidecar.write_text(hashlib.sha256(program).hexdigest())
    with changed(hostile, program), pytest.raises(CorruptFile, match="pt2"):
        artifacts.fetch_model(settings, trained.model_uri, trained.digests, tmp_path / "cache" / "m")
    sidecar.unlink()
    assert not (tmp_path / "cache" / "m").exists()


@pytest.mark.parametrize("wrong", [([0.0], []), ([0.0], [0.0]), ([0.0, 1.0], [1.0])])
def test_a_normalisation_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError):
        Normalise(*wrong)
