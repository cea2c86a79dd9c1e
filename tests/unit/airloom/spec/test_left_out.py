"""A pipeline file without `tune`, `gate` or `deploy`: what it means, and what goes together."""

from pathlib import Path

import pytest
import yaml

from airloom.errors import ConfigError
from airloom.spec.load import checked, digest, full, load_pipeline, read_values
from airloom.spec.pipeline import Pipeline

GOOD = Path(__file__).resolve().parents[4] / "configs" / "pipelines" / "digits.yaml"
STEPS = ("tune", "gate", "deploy")


def without(*steps: str, **changes: object) -> dict:
    return {key: value for key, value in (read_values(GOOD) | changes).items() if key not in steps}


@pytest.mark.parametrize("steps", [("tune",), ("deploy",), ("tune", "deploy"), ("gate", "deploy"), STEPS])
def test_what_is_left_out_is_not_there_and_what_is_kept_of_it_reads_again(steps) -> None:
    pipeline = checked(without(*steps))
    assert [name for name in STEPS if getattr(pipeline, name) is None] == [name for name in STEPS if name in steps]
    assert not set(steps) & set(full(pipeline))
    assert digest(checked(full(pipeline))) == digest(pipeline)


def test_the_definition_of_a_file_with_all_of_them_is_what_it_was() -> None:
    """Versions that exist carry its digest."""
    pipeline = load_pipeline(GOOD)
    later = {"log", "monitor"}
    assert full(pipeline) == pipeline.model_dump(mode="json", by_alias=True, exclude=later)


def test_without_a_study_nothing_is_searched() -> None:
    pipeline = checked(without("tune"))
    assert pipeline.dimensions == {}
    with pytest.raises(ConfigError, match="pipeline digits is not tuned: its file has no `tune`") as caught:
        pipeline.study  # noqa: B018
    assert "`airloom run digits` trains once" in caught.value.hint
    with pytest.raises(ConfigError, match="nobody judges what pipeline digits trains") as caught:
        checked(without("gate", "deploy")).policy  # noqa: B018
    assert "airloom model promote digits/VERSION" in caught.value.hint


CANDIDATES = {"cnn": {"train": "a.py:train"}, "mlp": {"train": "b.py:train"}}
SPACE = {"cnn": {"train": "a.py:train", "space": {"width": {"int": [4, 8]}}}}


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (without("gate"), ["deploy makes a version serve that nobody judged", "airloom model promote digits/VERSION"]),
        (
            without("gate", "deploy", "train", candidates=CANDIDATES),
            ["several candidates (cnn, mlp)", "give the file a `gate`, or leave one candidate"],
        ),
        (without("tune", "train", candidates=SPACE), ["candidates.cnn.space: without `tune` nothing is searched"]),
        (without(tune=None), ["tune: ", "the key stands there without a value", "leave it out"]),
        (without(gate=None), ["gate: ", "the key stands there without a value"]),
        (without(deploy=None), ["deploy: ", "the key stands there without a value"]),
        (without(log=None), ["log: ", "the key stands there without a value", "nothing of the inputs is kept"]),
        (without(log={"inputs": "drop", "hash": ["who"]}), ["log: inputs: drop keeps no column"]),
        (without(log={"inputs": "full", "hash": ["a"], "drop": ["a"]}), ["log: 'a' stands in both drop and hash"]),
        (without(log={"inputs": "some"}), ["log.inputs: ", "'full', 'profile', 'hash' or 'drop'", "'some'"]),
        (without("deploy", gate={}), ["gate.against_champion: Field required"]),
        (without("gate", "deploy", evaluate={"slices": {"x": {}}}), ["evaluate.slices.x"]),
    ],
)
def test_what_does_not_go_together_is_refused_with_what_to_do(tmp_path, values, says) -> None:
    file = tmp_path / "digits.yaml"
    file.write_text(yaml.safe_dump(values))
    with pytest.raises(ConfigError) as caught:
        load_pipeline(file)
    for text in [str(file), *says]:
        assert text in str(caught.value)


def test_one_candidate_needs_no_gate_and_candidates_no_study() -> None:
    one = checked(without("gate", "deploy", "train", candidates={"cnn": {"train": "a.py:train"}}))
    assert list(one.candidates) == ["cnn"]
    both = without("tune", "train", candidates={n: c | {"parameters": {"width": 4}} for n, c in CANDIDATES.items()})
    assert checked(both, "mlp").parameters["width"] == 4


def test_the_schema_needs_none_of_them_and_knows_no_empty_one() -> None:
    schema = Pipeline.model_json_schema()
    assert schema["required"] == ["pipeline", "dataset"]
    assert all("left out" in schema["properties"][name]["description"] for name in STEPS)
    assert all("anyOf" not in schema["properties"][name] for name in STEPS)


def test_without_a_log_a_definition_is_what_it_was_before_there_was_one() -> None:
    assert "log" not in full(checked(without()))
    assert full(checked(without(log={"inputs": "profile"})))["log"]["inputs"] == "profile"
