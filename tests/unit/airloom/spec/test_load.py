"""A wrong pipeline file names the file, the key and what is allowed."""

from pathlib import Path

import pytest
import yaml

from airloom.errors import ConfigError
from airloom.spec.load import load_pipeline
from airloom.spec.pipeline import Pipeline

PROJECT = Path(__file__).resolve().parents[4]
GOOD = PROJECT / "configs" / "pipelines" / "digits.yaml"


def write(tmp_path: Path, **changes: object) -> Path:
    values = yaml.safe_load(GOOD.read_text())
    for dotted, value in changes.items():
        *parents, last = dotted.split("__")
        section = values
        for parent in parents:
            section = section[parent]
        section[last] = value
    path = tmp_path / "changed.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def test_the_shipped_file_is_valid() -> None:
    assert load_pipeline(GOOD).pipeline == "digits"


def test_the_schema_describes_every_top_level_key() -> None:
    assert {"pipeline", "dataset", "train", "tune", "gate", "deploy"} <= set(Pipeline.model_json_schema()["properties"])


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"tune__trails": 3}, ["tune.trails", "did you mean 'trials'", "allowed:", "workers"]),
        ({"treatment": 1}, ["treatment", "unknown key", "allowed:", "dataset"]),
        ({"tune__sampler": "magic"}, ["tune.sampler", "'tpe'", "'random'", "magic"]),
        ({"tune__trials": 0}, ["tune.trials", "greater than or equal to 1", "0"]),
        ({"tune__trials": 1}, ["2 workers for 1 trials"]),
        ({"tune__space__lr": {"float": [1, 0.1]}}, ["tune.space.lr", "upside down"]),
        ({"tune__space__lr": {"float": [0, 1], "log": True}}, ["log needs a range above 0"]),
        ({"tune__space__lr": {"int": [1, 2], "choice": [1]}}, ["exactly one of"]),
        ({"tune__space": {}}, ["tune.space"]),
        ({"tune__space__epochs": {"int": [1, 2]}}, ["epochs", "both parameters and tune.space"]),
        ({"dataset__split": {"train": 0.9, "validation": 0.2, "test": 0.1}}, ["dataset.split", "summing to 1"]),
        ({"dataset__name": "../evil"}, ["dataset.name", "../evil"]),
        ({"pipeline": "x" * 200}, ["pipeline"]),
        ({"train": "no function here"}, ["train", "no function here"]),
        ({"gate__at_least": {}}, ["gate.at_least"]),
        ({"gate__against_champion__alpha": 0.9}, ["gate.against_champion.alpha", "0.9"]),
        ({"deploy__steps": ["moon"]}, ["deploy.steps", "'champion'"]),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, changes: dict[str, object], expected: list[str]) -> None:
    path = write(tmp_path, **changes)
    with pytest.raises(ConfigError) as caught:
        load_pipeline(path)
    assert str(path) in str(caught.value)
    for text in expected:
        assert text in str(caught.value)


@pytest.mark.parametrize("content", ["", "- a\n- b", "a: [", "\x00", "text"])
def test_what_is_no_mapping_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"broken\.yaml"):
        load_pipeline(path)


def test_a_missing_file_lists_its_neighbours() -> None:
    with pytest.raises(ConfigError, match=r"digits\.yaml"):
        load_pipeline(GOOD.with_name("digit.yaml"))
