"""A wrong pipeline file names the file, the key and what is allowed."""

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.errors import ConfigError
from airloom.spec import yaml_text
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
        ({"gate__at_least": {}}, ["gate", "needs at_least: {accuracy: 0.85}, or at_most"]),
        ({"gate__at_least": {}, "gate__at_most": {"latency_ms": 5}}, ["gate", "needs at_least"]),
        ({"gate__against_champion__alpha": 0.9}, ["gate.against_champion.alpha", "0.9"]),
        ({"deploy__steps": ["moon"]}, ["deploy.steps", "'champion'"]),
        ({"tune__space__lr": {"float": [0, float("inf")]}}, ["tune.space.lr.float.1: inf is no finite number"]),
        ({"tune__sampler": {"name": "tpe", "gamma": float("nan")}}, ["tune.sampler.gamma: nan is no finite number"]),
        ({"tune__space__lr": {"choice": [1, True, 2]}}, ["values that are equal", "1 and True"]),
        ({"tune__space__lr": {"choice": ["a", "b", "a"]}}, ["values that are equal", "'a' and 'a'"]),
        ({"parameters__hit@1": 3}, ["no parameter called 'hit@1'", "call it 'hit_1'"]),
        ({"tune__space__a//b": {"int": [1, 2]}}, ["no parameter called 'a//b'", "call it 'a/b'"]),
        ({"tune__objective__metric": "hit@1"}, ["tune.objective.metric", "no metric called 'hit@1'"]),
        ({"parameters__sizes": [1, 2]}, ["parameters.sizes", "give a number, a text, true or false"]),
        ({"parameters__prompt": "x" * 7000}, ["MLflow keeps 6000", "inputs"]),
        ({"gate__against_champion__non_inferior_by": 3}, ["accuracy is a share of 1", "0.03 for 3 percent"]),
        ({"gate__against_champion__planned": {"effect": 2}}, ["planned.effect is 2", "share of 1"]),
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


def test_a_number_without_a_point_is_a_number(tmp_path: Path) -> None:
    path = write(tmp_path)
    more = "parameters:\n  rate: 1e-3\n  text: '1e-3'\n  big: -2E+6"
    path.write_text(path.read_text().replace("parameters:", more, 1))
    parameters = load_pipeline(path).parameters
    assert parameters["rate"] == 0.001
    assert parameters["big"] == -2e6
    assert parameters["text"] == "1e-3"


# PyYAML writes the text 0E0 without quotes, as YAML 1.1 would read it.
TEXT = st.text().filter(lambda text: not re.fullmatch(r"[-+]?[0-9.]+[eE][-+]?[0-9]+", text))


@settings(deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_way_to_write_a_number_is_that_number(value: float) -> None:
    for text in (repr(value), f"{value:e}", f"{value:E}", f"{value:+.17g}"):
        assert yaml_text.read(text) == float(text)
        assert type(yaml_text.read(text)) is (float if {".", "e", "E"} & set(text) else int)


@settings(deadline=None, max_examples=50)
@given(st.recursive(TEXT | st.integers(), lambda values: st.dictionaries(TEXT, values, max_size=3)))
def test_what_was_written_comes_back(values: object) -> None:
    assert yaml_text.read(yaml.safe_dump(values)) == values


def test_a_key_that_stands_twice_is_refused_and_a_merge_is_not(tmp_path: Path) -> None:
    path = write(tmp_path)
    path.write_text(path.read_text() + "\nseed: 1\nseed: 2\n")
    with pytest.raises(ConfigError, match="the key 'seed' stands twice"):
        load_pipeline(path)
    merged = yaml_text.read("base: &base {a: 1, b: 2}\nown: {<<: *base, a: 3}\n")
    assert merged["own"] == {"a": 3, "b": 2}


def test_margins_are_in_the_unit_of_the_metric(tmp_path: Path) -> None:
    own = {"metric": "mae", "non_inferior_by": 5000.0, "planned": {"effect": 1200.0}}
    slices = {"bright": {"non_inferior_by": 9000.0}}
    path = write(tmp_path, gate__against_champion=own, gate__slices=slices, gate__at_least={"r2": 0.5})
    assert load_pipeline(path).gate.against_champion.margin == 5000
    with pytest.raises(ConfigError, match=r"slices\.bright\.non_inferior_by is 9000"):
        load_pipeline(write(tmp_path, gate__slices=slices))


def test_a_metric_of_errors_has_a_maximum_for_a_minimum(tmp_path: Path) -> None:
    """A language model has no other: its loss and perplexity are the less the better."""
    policy = load_pipeline(write(tmp_path, gate__at_least={}, gate__at_most={"log_loss": 2.5})).gate
    assert policy.at_most == {"log_loss": 2.5}
