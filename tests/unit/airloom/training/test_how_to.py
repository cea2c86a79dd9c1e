"""The conversion that docs/how-to/train.md shows: both versions run, and few lines differ."""

import difflib
import importlib.util
from pathlib import Path

import pytest
import torch  # noqa: TID253 - a test of torch code

from airloom.errors import JobFailed
from airloom.training.checkpointing.checkpoints import Pace

DOCS = Path(__file__).parents[4] / "docs" / "how-to"


def load(name):
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_three_lines_beside_the_argument_turn_a_script_into_a_training_function():
    before, after = ((DOCS / f"training_{name}.py").read_text().splitlines() for name in ("before", "after"))
    added = [line[2:].strip() for line in difflib.ndiff(before[1:], after[1:]) if line.startswith("+ ")]
    assert added == [
        "def train(run):",
        "for epoch in run.epochs(5, model=model, optimizer=optimizer):",
        "run.report(epoch, loss=total / len(loader))",
        "run.save_model(model, images[:2])",
    ]
    shown = (DOCS / "train.md").read_text()
    assert all(f"+    {line}" in shown or f"+        {line}" in shown or f"+{line}" in shown for line in added)


@pytest.mark.long
def test_both_give_the_same_weights_also_after_a_crash(start, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Pace, "due", lambda self: True)
    load("training_before").train()
    expected = torch.load("model.pt", weights_only=True)
    train = load("training_after").train

    def crashing(run):
        report = run.report
        run.report = lambda epoch, **metrics: report(epoch, **metrics) if epoch < 3 else 1 / 0
        train(run)

    with pytest.raises(JobFailed, match="ZeroDivisionError"):
        start(crashing)
    ended = start(train)
    assert list(ended.reports) == [3, 4]
    for name, value in ended.model.state_dict().items():
        assert torch.equal(value, expected[name])
