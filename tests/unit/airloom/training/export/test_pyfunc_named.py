"""A model of several inputs in MLflow: the signature has their names, and plain MLflow gives the served answer."""

import mlflow  # noqa: TID253 - a test of MLflow's client
import numpy as np
import pytest
import torch  # noqa: TID253 - a test of training code
from torch import nn  # noqa: TID253 - as above

from airloom.contracts import RunContext, Snapshot
from airloom.inference.model import LoadedModel
from airloom.inputs.declared import InputProcessing
from airloom.processing import Processing, parse
from airloom.tracking import artifacts, runs
from airloom.training.export.example import Example
from airloom.training.export.store import store_model


class Wide(nn.Module):
    """Tokens with a mask, beside numbers."""

    def __init__(self):
        super().__init__()
        self.words, self.out = nn.Embedding(20, 4), nn.Linear(4 + 2, 3)

    def forward(self, input_ids, attention_mask, numbers):
        there = attention_mask.unsqueeze(-1).float()
        text = (self.words(input_ids) * there).sum(1) / there.sum(1).clamp_min(1.0)
        scores = self.out(torch.cat([text, numbers], 1))
        return {"scores": scores, "text": text}


LENGTH = {"input_ids": {1: "length"}, "attention_mask": {1: "length"}}
EXAMPLE = {
    "input_ids": torch.randint(0, 20, (2, 4)),
    "attention_mask": torch.ones(2, 4).long(),
    "numbers": torch.rand(2, 2),
}
DECLARED = Processing(
    inputs={
        "input_ids": InputProcessing(pad=0),
        "attention_mask": InputProcessing(mask="input_ids"),
        "numbers": InputProcessing(columns=["miles", "hour"]),
    }
)


@pytest.fixture(scope="module")
def stored(make_home, tmp_path_factory):
    settings = make_home(tmp_path_factory.mktemp("named"))
    torch.manual_seed(0)
    model = Wide().eval()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
            patch.setenv(name, "")
        experiment, parent = runs.ensure_parent(settings, "wide", "wide/1", {})
        snapshot = Snapshot("s", "wide", 1, "v", "c", {"train": 1.0}, {})
        ctx = RunContext("wide", "unused.yaml", "wide/1", parent, experiment, snapshot)
        run = runs.ensure_child(runs.client(settings), ctx, "train")
        trained = store_model(run, model, Example.of(EXAMPLE, model, LENGTH), {}, {}, DECLARED)
        folder = artifacts.fetch_model(settings, trained.model_uri, trained.digests, settings.home / "cache" / "m")
        yield model, trained, LoadedModel.load("wide", "1", folder, trained.digests)


def test_plain_mlflow_gives_the_served_answers_by_name(stored, tmp_path):
    model, trained, served = stored
    theirs = mlflow.pyfunc.load_model(trained.model_uri, dst_path=str(tmp_path))
    asked = theirs.metadata.signature.inputs.inputs
    assert [(port.name, str(port.type), port.shape) for port in asked] == [
        ("input_ids", "int64", (-1, -1)),
        ("attention_mask", "int64", (-1, -1)),
        ("numbers", "float32", (-1, 2)),
    ]
    assert [port.name for port in theirs.metadata.signature.outputs.inputs] == ["scores", "text"]
    rows = [{"input_ids": [3, 4, 5, 6, 7], "miles": 1, "hour": 2.5}, {"input_ids": [8], "miles": 0, "hour": -1}]
    (inputs,) = served.parse(rows)
    assert inputs["attention_mask"].tolist() == [[1] * 5, [1, 0, 0, 0, 0]]
    answers, ours = theirs.predict(inputs), served.answers(served.parse(rows)).predictions
    assert answers["scores"].tolist() == [row["scores"] for row in ours]
    with torch.no_grad():
        expected = model(**{name: torch.from_numpy(array) for name, array in inputs.items()})["scores"].numpy()
    np.testing.assert_allclose(answers["scores"], expected, atol=1e-5)


def test_what_goes_before_it_is_kept_beside_it(stored):
    _, trained, served = stored
    assert served.processing.inputs == DECLARED.inputs
    assert artifacts.PROCESSING in trained.digests
    assert parse(served.processing.model_dump_json().encode()) == served.processing
