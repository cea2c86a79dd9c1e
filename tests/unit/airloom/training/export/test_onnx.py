import json
import re
from pathlib import Path

import pytest
import torch  # noqa: TID253 - a test of torch code
from torch import nn  # noqa: TID253 - as above

from airloom.errors import ConfigError, JobFailed
from airloom.training.export import onnx
from airloom.training.export.example import Example
from airloom.training.export.onnx import export


def test_onnx_answers_as_torch_and_golden_holds_two_rows(tmp_path, capfd):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))
    export(model.eval(), torch.randn(2, 1, 8, 8), tmp_path)
    golden = json.loads((tmp_path / "golden.json").read_text())
    answers = model(torch.tensor(golden["inputs"]["input"]["values"]))
    assert torch.allclose(answers, torch.tensor(golden["outputs"]["output"]["values"]), atol=1e-6)
    assert (golden["rtol"], golden["inputs"]["input"]["dtype"]) == (1e-4, "float32")
    assert 0 <= golden["differences"]["output"] < 1e-5
    assert sorted(p.name for p in tmp_path.iterdir()) == ["golden.json", "model.onnx"]
    assert capfd.readouterr().out == ""
    assert str(Path(torch.__file__).parents[1]).encode() not in (tmp_path / "model.onnx").read_bytes()


def test_answers_of_half_a_million_are_right(tmp_path):
    """One step of float32 there is 0.03."""
    torch.manual_seed(0)

    class Prices(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))

        def forward(self, x):
            return 500_000 + 3e5 * self.body(x)

    assert export(Prices().eval(), torch.rand(2, 2) * 100, tmp_path).onnx.exists()


def test_an_export_that_answers_otherwise_is_refused(tmp_path, monkeypatch):
    write = onnx._write
    monkeypatch.setattr(onnx, "_write", lambda _, *more: write(nn.Linear(3, 4), *more))
    with pytest.raises(JobFailed, match="ONNX does not answer as torch does: row 0"):
        export(nn.Linear(3, 4).eval(), torch.randn(2, 3), tmp_path)


def test_more_weights_than_a_file_holds_are_told_before_the_export(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx, "MOST_WEIGHTS", 100)
    model = nn.Sequential(nn.Linear(5, 5), nn.Linear(5, 5))
    model[1].weight = model[0].weight
    with pytest.raises(JobFailed, match="GB of weights, and an ONNX file holds"):
        export(model.eval(), torch.rand(2, 5), tmp_path)
    monkeypatch.setattr(onnx, "MOST_WEIGHTS", 140)
    onnx._check_size(model)


class Branch(nn.Module):
    def forward(self, x):
        return x * 2 if x.sum().item() > 0 else x


class Fixed(nn.Module):
    def forward(self, x):
        return x.reshape(2, -1)


class Whole(nn.Module):
    def forward(self, x):
        return x.mean()


class Half(nn.Module):
    def forward(self, x):
        return x.half()


class Words(nn.Module):
    def forward(self, x):
        return "yes"


class Cached(nn.Module):
    def forward(self, x):
        return {"scores": x, "cache": [x]}


class Loss(nn.Module):
    def forward(self, x):
        return {"scores": x, "loss": x.mean()}


class Root(nn.Module):
    def forward(self, x):
        return torch.sqrt(-1 - x.abs())


@pytest.mark.parametrize(
    ("model", "message", "hint"),
    [
        (Words(), "returns a str", "return a tensor, or a tuple, dict"),
        (Cached(), "the output 'cache' of the model is a list, and no tensor", "use_cache"),
        (Loss(), r"with a tensor of shape \(\) in its output 'loss'", "a row of answers for each row"),
        (Branch(), r"cannot be exported to ONNX: .*data-dependent.*test_onnx\.py:\d+", "torch.where"),
        (Fixed(), r"does not take a batch of 1, .*test_onnx\.py:\d+", "fixes the size of the batch"),
        (Whole(), r"answers 2 rows with a tensor of shape \(\)", "a row of answers for each row"),
        (Half(), "answers in float16", r"answer\.float\(\)"),
        (Root(), "answers its own example with NaN", "root or logarithm"),
        (nn.Linear(5, 2), r"does not take its example, float32 \(2, 3\): RuntimeError", "as the module gets them"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_a_model_that_cannot_be_served_says_what_to_do(tmp_path, model, message, hint, capfd):
    with pytest.raises(JobFailed, match=message) as caught:
        export(model.eval(), torch.rand(2, 3), tmp_path)
    assert "GitHub" not in str(caught.value)
    assert re.search(hint, caught.value.hint)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("example", "message", "hint"),
    [
        (torch.zeros(2, 3, dtype=torch.int16), "the example is int16", r"x\.long\(\)"),
        (torch.zeros(2, 3, dtype=torch.float64), "the example is float64", r"x\.float\(\)"),
        (torch.zeros(2, 3, dtype=torch.uint8), "the example is uint8", r"float32, 0\.\.1"),
        (torch.zeros(1, 3), "at least 2 rows", "run.example"),
        (torch.tensor(1.0), "at least 2 rows", "run.example"),
        ({"x": torch.zeros(2), "y": torch.zeros(2)}, "input 'y', which is no parameter", r"x\[:2\], processing=Proc"),
        ({"x": [1, 2]}, "the input 'x' of the example is list, and no tensor", "what forward takes"),
        ((torch.zeros(2, 3), torch.zeros(3)), "different numbers of rows: input_0 2, input_1 3", "the batch"),
        ({}, "no tensor", "what the module takes"),
        (["a", "b"], "no tensor", "Tokenise|tokenise"),
        (3, "not int", "first rows"),
    ],
)
def test_an_example_that_is_not_served_says_what_to_give(example, message, hint):
    with pytest.raises(ConfigError, match=message) as caught:
        Example.of(example, Whole() if isinstance(example, dict) else None)
    assert re.search(hint, caught.value.hint)
