import json
import re
from pathlib import Path

import pytest
import torch  # noqa: TID253 - a test of torch code
from torch import nn  # noqa: TID253 - as above

from airloom.errors import ConfigError, JobFailed
from airloom.training.export import onnx
from airloom.training.export.check import check_example
from airloom.training.export.onnx import export


def test_onnx_answers_as_torch_and_golden_holds_two_rows(tmp_path, capfd):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))
    export(model.eval(), torch.randn(2, 1, 8, 8), tmp_path)
    golden = json.loads((tmp_path / "golden.json").read_text())
    answers = model(torch.tensor(golden["inputs"]))
    assert torch.allclose(answers, torch.tensor(golden["outputs"]), atol=1e-6)
    assert golden["rtol"] == 1e-4
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
    monkeypatch.setattr(onnx, "_write", lambda _, example, path: write(nn.Linear(3, 4), example, path))
    with pytest.raises(JobFailed, match="ONNX does not answer as torch does: row 0"):
        export(nn.Linear(3, 4).eval(), torch.randn(2, 3), tmp_path)


class Two(nn.Module):
    def forward(self, x):
        return x, 2 * x


class Named(nn.Module):
    def forward(self, x):
        return {"out": x}


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


class Root(nn.Module):
    def forward(self, x):
        return torch.sqrt(-1 - x.abs())


@pytest.mark.parametrize(
    ("model", "message", "hint"),
    [
        (Two(), "returns a tuple of 2; what is served is one tensor", "return the one that is to be served"),
        (Named(), "returns a dict of 1", "return the one that is to be served"),
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
        (torch.zeros(2, 3, dtype=torch.int32), "the example is int32", r"x\.long\(\)"),
        (torch.zeros(2, 3, dtype=torch.bool), "the example is bool", r"x\.float\(\)"),
        (torch.zeros(2, 3, dtype=torch.float64), "the example is float64", r"x\.float\(\)"),
        (torch.zeros(2, 3, dtype=torch.uint8), "the example is uint8", r"float32, 0\.\.1"),
        (torch.zeros(1, 3), "at least 2 rows", "run.example"),
        (torch.tensor(1.0), "at least 2 rows", "run.example"),
        ({"x": torch.zeros(2), "y": torch.zeros(2)}, r"are columns \('x', 'y'\)", r"x\[:2\], processing=Processing"),
        (["a", "b"], "no tensor", "Tokenise|tokenise"),
        (3, "not int", "first rows"),
    ],
)
def test_an_example_that_is_not_served_says_what_to_give(example, message, hint):
    with pytest.raises(ConfigError, match=message) as caught:
        check_example(example)
    assert re.search(hint, caught.value.hint)
