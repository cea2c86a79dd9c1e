import json

import pytest
import torch  # noqa: TID253 - a test of torch code

from airloom.errors import JobFailed
from airloom.training.export.onnx import export


def test_onnx_answers_as_torch_and_golden_holds_two_rows(tmp_path, capfd):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 10))
    exported = export(model.eval(), torch.randn(2, 1, 8, 8), tmp_path)
    assert exported.max_difference <= 1e-5
    golden = json.loads((tmp_path / "golden.json").read_text())
    answers = model(torch.tensor(golden["inputs"]))
    assert torch.allclose(answers, torch.tensor(golden["outputs"]), atol=1e-6)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["golden.json", "model.onnx"]
    assert capfd.readouterr().out == ""


def test_a_model_that_cannot_be_exported_is_a_job_failure(tmp_path):
    class Odd(torch.nn.Module):
        def forward(self, x):
            return x * 2 if x.sum().item() > 0 else x

    with pytest.raises(JobFailed, match="cannot be exported"):
        export(Odd().eval(), torch.randn(2, 3), tmp_path)
