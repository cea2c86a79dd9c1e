"""What `airloom pipeline check` knows before anything runs."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from airloom.cli import pipelines
from airloom.errors import ConfigError
from airloom.pipeline.checks import check_metrics, missing_datasets
from airloom.project.functions import check_function
from airloom.spec.load import checked

GATE = {"at_least": {"accuracy": 0.5}, "against_champion": {"non_inferior_by": 0.1}}
SPEC = {"pipeline": "boats", "dataset": {"name": "boats"}, "train": "model.py:train", "gate": GATE}


@pytest.mark.parametrize(
    "text",
    [
        "def train(run): ...",
        "async def train(run): ...",
        "class train: ...",
        "from functools import partial as train",
        "train = other = None",
        "train: int = 1",
        "(train, other) = 1, 2",
        "if True:\n    def train(run): ...",
        "try:\n    from a import train\nexcept ImportError:\n    train = None",
        "from a import *",
        "def __getattr__(name): ...",
    ],
)
def test_a_function_that_may_be_there_is_not_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "model.py").write_text(text)
    check_function(tmp_path, "model.py:train")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def trian(run): ...", r"train: model.py has no function 'train' \(did you mean trian\?\)"),
        ("def other():\n    train = 1\n    def train(): ...", "has no function 'train'"),
        ("", "has no function 'train'"),
        ("def train(run:\n", r"train: model.py, line \d is no Python"),
        ("x = '\0'", "is no Python"),
    ],
)
def test_a_function_that_is_not_there_is_refused_without_importing(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "model.py").write_text(f"raise SystemExit('imported')\n{text}")
    with pytest.raises(ConfigError, match=message):
        check_function(tmp_path, "model.py:train")


def test_functions_of_packages_and_of_other_keys(tmp_path: Path) -> None:
    check_function(tmp_path, "json:dumps")
    check_function(tmp_path, "math:sqrt")  # no source to look into
    with pytest.raises(ConfigError, match=r"tune\.space_function: json has no function 'dmups'"):
        check_function(tmp_path, "json:dmups", "tune.space_function")
    with pytest.raises(ConfigError, match=r"tune\.space_function: there is no file space\.py"):
        check_function(tmp_path, "space.py:space", "tune.space_function")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gate": GATE | {"at_least": {"acuracy": 1}}}, r"gate.at_least: no .* 'acuracy' \(did you mean accuracy\?\)"),
        ({"gate": GATE | {"at_most": {"latency": 1}}}, "gate.at_most: no evaluation measures 'latency'"),
        ({"task": "classification", "gate": GATE | {"at_least": {"mae": 1}}}, "no evaluation measures 'mae'"),
        (
            {
                "evaluate": {"slices": {"a": {"column": "x", "below": 1}}},
                "gate": GATE | {"slices": {"a": {"at_least": {"f1": 1}}}},
            },
            "gate.slices.a.at_least: no evaluation measures 'f1'",
        ),
    ],
)
def test_a_rule_for_a_metric_that_nobody_measures(changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_metrics(checked(SPEC | changes))


@pytest.mark.parametrize(
    "rules",
    [
        {"at_least": {"accuracy": 0.5, "recall_8": 0.1, "recall_at_precision_0.8": 0.1, "macro_f1": 0.1}},
        {"at_most": {"latency_ms": 5, "size_mb": 1, "log_loss": 1}},
        {"at_least": {"saved": 0.5}},
    ],
)
def test_a_rule_for_one_that_is_measured(rules: dict) -> None:
    check_metrics(checked(SPEC | {"evaluate": {"metrics": "costs.py:saved"}, "gate": GATE | rules}))
    check_metrics(checked({name: value for name, value in SPEC.items() if name != "gate"}))


def test_datasets_that_are_not_here_yet() -> None:
    predict = [{"dataset": "incoming"}, {"dataset": "boats@v3"}]
    pipeline = checked(SPEC | {"predict": predict, "deploy": {}})
    assert not missing_datasets(pipeline, ["boats", "incoming"])
    lines = missing_datasets(pipeline, ["boat", "incoming"])
    assert [line.split(":")[0].strip() for line in lines] == ["dataset", "predict.1"]
    assert "there is no dataset boats yet (did you mean boat?); `airloom dataset create` makes it" in lines[0]


@pytest.mark.timeout(900)
def test_the_command_looks_at_the_dataset_and_has_json(world, monkeypatch) -> None:
    for name, value in world.settings.as_environment().items():
        monkeypatch.setenv(name, value)
    (world.settings.project / "checked.py").write_text("def train(run): ...")

    def check(*words: str, **changes):
        ctx = world.ctx()
        file = world.settings.project / f"{ctx.pipeline}.yaml"
        file.write_text(json.dumps(ctx.spec | {"train": "checked.py:train"} | changes))
        return CliRunner().invoke(pipelines.app, ["check", str(file), *words])

    by = {"evaluate": {"slices": {"dark": {"column": "mean_intensty", "below": 0.3}}}}
    refused = str(check(**by).exception)
    assert "evaluate.slices.dark: the dataset has no column 'mean_intensty' (did you mean mean_intensity?)" in refused
    assert "'label'" in refused
    refused = str(check(log={"inputs": "full", "hash": ["imgae"]}).exception)
    assert "log.hash: the dataset has no input 'imgae' (did you mean image?)" in refused
    assert check(log={"inputs": "full", "hash": ["image"]}).exit_code == 0
    for right in ({"column": "mean_intensity", "below": 0.3}, {"label": 3}, {"tag": "any"}):
        assert check(evaluate={"slices": {"dark": right}}).exit_code == 0
    done = check("--json")
    assert done.exit_code == 0, done.output + str(done.exception)
    told = json.loads(done.stdout)
    assert told["pipeline"]["pipeline"] == world.ctx().pipeline
    assert any(line.startswith("gate: ") for line in told["says"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": "model.py"}, "train: does not fit: path/from/project.py:function or module:function"),
        ({"pipeline": "Boats"}, "pipeline: does not fit: its name: .*lower case.*got 'Boats'"),
        ({"task": "clasification"}, "^the pipeline: task: 'clasification': there is no such task"),
        (
            {"dataset": {"name": "boats", "split": {"train": 0.5}}},
            r"dataset.split: needs train, validation and test",
        ),
    ],
)
def test_a_message_of_a_pipeline_file_has_no_word_of_the_library(changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        checked(SPEC | changes)
    assert "Value error" not in str(caught.value)
    assert "pattern" not in str(caught.value)
