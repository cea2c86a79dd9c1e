"""What templates make of arguments: as they are, as text of a DAG without native rendering, or refused by name."""

import json
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from hypothesis import given
from hypothesis import strategies as st

from airloom.contracts import Decision, RunContext
from airloom.errors import AirloomError, ConfigError, CorruptFile, DataAway, DataError, JobFailed, MlflowAway
from airloom.errors import ValidationFailed as Refused
from airloom_operators.base import AirloomOperator, StepOperator
from airloom_operators.templates import flag, mapping, number, record

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
DICTS = st.dictionaries(st.text(), st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3), max_leaves=5))


@given(DICTS)
def test_a_dict_is_the_same_as_it_is_as_json_and_as_python_writes_it(values: dict[str, Any]) -> None:
    assert mapping("parameters", values) == values
    assert mapping("parameters", json.dumps(values)) == values
    assert mapping("parameters", str(values)) == values


@pytest.mark.parametrize("nothing", [None, "", " ", "None", "none", "null"])
def test_nothing_is_nothing_in_every_spelling(nothing: Any) -> None:
    assert mapping("parameters", nothing) == {}
    assert number("dataset_version", nothing) is None
    assert flag("cache", nothing, default=True) is True
    assert flag("cache", nothing, default=False) is False


@pytest.mark.parametrize(("text", "truth"), [("True", True), ("true", True), ("False", False), ("false ", False)])
def test_a_truth_value_may_be_text(text: str, truth: bool) -> None:
    assert flag("cache", text, default=not truth) is truth
    assert flag("cache", truth, default=not truth) is truth


@pytest.mark.parametrize("written", [3, "3", " 3 ", "v3", "V3"])
def test_a_version_may_be_text(written: Any) -> None:
    assert number("dataset_version", written) == 3


@pytest.mark.parametrize("value", ["three", "3.5", 3.5, 0, -1, "0", True, "v", "²", [3], {"a": 1}])
def test_what_is_no_version_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"dataset_version is "):
        number("dataset_version", value)


@pytest.mark.parametrize("value", ["yes", 1, 0, "1", [], 2.0])
def test_what_is_no_truth_value_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match="cache is ") as caught:
        flag("cache", value, default=True)
    assert "true or false" in caught.value.hint


@pytest.mark.parametrize("value", ["epochs=3", "[1, 2]", [("epochs", 3)], 7, "{1, 2}", "__import__('os')", "(" * 5000])
def test_what_has_no_names_with_values_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"parameters is .*, no names with values"):
        mapping("parameters", value)


@pytest.mark.parametrize("value", [{}, {"passed": True, "unknown": 1}, "None", {"snapshot": 3}])
@pytest.mark.parametrize("kind", [RunContext, Decision])
def test_a_result_of_another_task_is_refused(kind: type, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"context is .*, no {kind.__name__}"):
        record(kind, "context", value)


MISTAKES = [
    ConfigError("x"),
    DataError("x"),
    Refused("x"),
    *(JobFailed("x", cause=c) for c in ("DataError", "ConfigError")),
]
OTHERS = [DataAway("x"), CorruptFile("x"), MlflowAway("x"), JobFailed("x"), JobFailed("x", cause="ValueError")]
OTHERS += [JobFailed("x", cause="DataAway"), JobFailed("x", cause="CorruptFile")]


@pytest.mark.parametrize("error", [*MISTAKES, *OTHERS], ids=lambda e: f"{type(e).__name__} {getattr(e, 'cause', '')}")
def test_only_what_a_person_has_to_mend_fails_without_a_retry(error: AirloomError, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("AIRLOOM_HOME", str(tmp_path))
    with pytest.raises(AirflowException) as caught, AirloomOperator(task_id="any").step():
        raise error
    assert isinstance(caught.value, AirflowFailException) is (error in MISTAKES)


def test_a_context_that_is_none_fails_its_task_at_once(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("AIRLOOM_HOME", str(tmp_path))
    operator = StepOperator(task_id="any")
    operator.context = "{'key': 1}"
    with pytest.raises(AirflowFailException, match="no RunContext"), operator.step():
        operator.run_context()
