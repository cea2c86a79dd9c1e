"""A model trained here answers alike in the server and in plain MLflow, which knows nothing of Airloom."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch  # noqa: TID253 - a test of training code
from torch import nn  # noqa: TID253 - as above

from airloom.errors import CorruptFile
from airloom.processing import Processing, Tokenise
from airloom.tracking import artifacts, runs
from airloom.training.export.store import store_model
from airloom.training.normalise import Normalise
from airloom_serving.model import BadRequest
from airloom_serving.model import load as load_served

TEXTS = ["well made", "well done!", "broke at once", "it broke"]
# A stranger: mlflow, torch and numpy only; airloom and our serving cannot even be imported.
STRANGER = """
import json, sys
for name in ("airloom", "airloom_serving", "airloom_operators", "onnxruntime"):
    sys.modules[name] = None
import numpy as np, mlflow
model = mlflow.pyfunc.load_model(sys.argv[1])
answers = {}
for size in (1, 7, 300):
    rows = np.load(f"{sys.argv[2]}/{size}.npy")
    answers[size] = np.asarray(model.predict(rows)).tolist()
json.dump(answers, open(f"{sys.argv[2]}/answers.json", "w"))
"""


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


@pytest.fixture(params=["image", "text"])
def stored(request, settings, ctx):
    model, example, declared = image_model() if request.param == "image" else text_model()
    client = runs.client(settings)
    run = runs.ensure_child(client, ctx, "train")
    return request.param, model, store_model(run, model, example, {}, {}, declared)


def served(settings, trained, tmp_path):
    folder = artifacts.fetch_model(settings, trained.model_uri, trained.digests, tmp_path / "cache" / "m")
    return load_served("m", "1", folder, trained.digests)


def test_plain_mlflow_without_airloom_gives_the_served_answers(settings, stored, tmp_path):
    kind, model, trained = stored
    ours = served(settings, trained, tmp_path)
    for size in (1, 7, 300):
        np.save(tmp_path / f"{size}.npy", rows_of(kind, size))
    environment = {
        "MLFLOW_TRACKING_URI": settings.mlflow_uri,
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "HOME": str(tmp_path),
        "PATH": "/usr/bin:/bin",
        "no_proxy": "*",
    }
    command = [sys.executable, "-c", STRANGER, trained.model_uri, str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    answers = json.loads((tmp_path / "answers.json").read_text())
    for size in (1, 7, 300):
        expected = ours.scores(rows_of(kind, size))
        assert np.abs(np.asarray(answers[str(size)]) - expected).max() <= 1e-5
        with torch.no_grad():
            assert np.abs(model(torch.from_numpy(rows_of(kind, size))).numpy() - expected).max() <= 1e-5


def test_the_server_takes_texts_and_answers_with_names(settings, ctx, tmp_path):
    model, example, declared = text_model()
    run = runs.ensure_child(runs.client(settings), ctx, "train")
    ours = served(settings, store_model(run, model, example, {}, {}, declared), tmp_path)
    with torch.no_grad():
        expected = model(torch.from_numpy(declared.tokenise(TEXTS))).argmax(1).tolist()
    assert ours.answers(ours.parse(TEXTS)) == [["bad", "good"][number] for number in expected]
    for wrong in ([], [1, 2], "well", [["well"]], [None], {"a": 1}):
        with pytest.raises(BadRequest, match="list of texts"):
            ours.parse(wrong)


def test_a_flipped_byte_in_any_file_is_refused_before_it_is_parsed(settings, stored, tmp_path):
    _, _, trained = stored
    folder = artifacts.fetch_model(settings, trained.model_uri, trained.digests, tmp_path / "cache" / "m")
    for name in (artifacts.ONNX, artifacts.GOLDEN, artifacts.PROCESSING):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
        with pytest.raises(CorruptFile, match=name.rpartition("/")[2]):
            load_served("m", "1", folder, trained.digests)
        (folder / name).write_bytes(whole)
    assert load_served("m", "1", folder, trained.digests)


def test_each_stored_file_has_a_digest_and_a_flip_of_any_is_named(settings, stored, tmp_path):
    _, _, trained = stored
    root = next((settings.home / "mlflow").glob(f"**/{trained.model_uri.rpartition('/')[2]}/artifacts"))
    files = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
    assert set(files) <= set(trained.digests)
    for name, path in files.items():
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(CorruptFile) as refusal:
            artifacts.fetch_model(settings, trained.model_uri, trained.digests, tmp_path / "cache" / "m")
        assert name in str(refusal.value)
        path.write_bytes(whole)


def test_a_hostile_program_with_a_forged_digest_beside_it_is_refused(settings, stored, tmp_path):
    """Digests stand in the registry; whatever lies beside the files counts for nothing."""
    import hashlib

    _, _, trained = stored
    root = next((settings.home / "mlflow").glob(f"**/{trained.model_uri.rpartition('/')[2]}/artifacts"))
    (hostile,) = root.rglob("*.pt2")
    hostile.write_bytes(b"import os; os.abort()")
    sidecar = hostile.with_name(f"{hostile.name}.sha256")
    sidecar.write_text(hashlib.sha256(hostile.read_bytes()).hexdigest())
    with pytest.raises(CorruptFile, match="pt2"):
        artifacts.fetch_model(settings, trained.model_uri, trained.digests, tmp_path / "cache" / "m")
    assert not (tmp_path / "cache" / "m").exists()


@pytest.mark.parametrize("wrong", [([0.0], []), ([0.0], [0.0]), ([0.0, 1.0], [1.0])])
def test_a_normalisation_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError):
        Normalise(*wrong)
