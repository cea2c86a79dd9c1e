"""One grammar of names: what is written is read back, and what earlier releases wrote is still read."""

import ast
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.errors import ConfigError, NameRefused
from airloom.names import (
    INSTALLATION,
    DatasetName,
    JobKey,
    ModelName,
    RunKey,
    check_installation,
    check_logged,
    child_run,
    dataset_version,
    is_mlflow_run,
    is_prediction,
    kept_key,
    owner_of,
    owner_of_key,
    registered_model,
    run_of_child,
    shown_model,
    study_of_worker,
)

names = st.from_regex(r"[a-z][a-z0-9_]{0,39}", fullmatch=True)
installations = st.from_regex(INSTALLATION, fullmatch=True)
run_ids = st.from_regex(r"[A-Za-z0-9_.~:+-]{1,60}", fullmatch=True)  # Airflow's `allowed_run_id_pattern`
dags = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,59}", fullmatch=True)


@given(dags, run_ids, names | st.just(""), st.integers(-1, 10**9 - 1), names | st.just(""), st.just("") | installations)
def test_a_run_key_is_read_as_it_was_written(dag, run, pipeline, index, candidate, installation):
    key = RunKey(dag, run, pipeline, index, installation, candidate)
    assert RunKey.match(str(key)) == key


@given(st.text(min_size=1).filter(lambda text: text.isprintable()))
def test_any_text_of_earlier_releases_keeps_its_name(text):
    key = RunKey.match(text)
    assert key is None or str(key) == text
    assert (key is None) == (RunKey.match(text) is None)


@given(dags, run_ids, names, st.integers(-1, 100))
def test_two_runs_never_share_a_key(dag, run, pipeline, index):
    plain, mapped = str(RunKey.of(dag, run, pipeline, index)), str(RunKey.of(dag, run, pipeline, index + 1))
    assert plain != mapped
    assert str(RunKey.of(dag, run, f"x{pipeline}"[:40], index)) != plain or f"x{pipeline}"[:40] == pipeline


def test_a_pipeline_called_like_its_dag_has_the_key_of_earlier_releases():
    key = RunKey.of("digits", "manual__1", "digits")
    assert str(key) == "digits/manual__1"
    assert str(key.of_candidate("cnn")) == "digits/manual__1/cnn"
    assert str(RunKey.of("nightly", "manual__1", "digits", 3)) == "nightly/manual__1@digits[3]"


@pytest.mark.parametrize("text", ["../../etc/passwd", "/etc/passwd", "digits/", "a b/c", "", "digits/a\nb"])
def test_what_is_no_run_key_is_none(text):
    assert RunKey.match(text) is None


def test_jobs_of_a_candidate_are_found_by_the_name_that_earlier_releases_gave_them():
    key = JobKey("digits/manual__1/cnn", "tune", 0)
    assert str(key) == "digits/manual__1/cnn/tune-0"
    assert key.former("cnn") == "digits/manual__1/cnn/tune_cnn-0"
    assert key.former("") == str(key)


@pytest.mark.parametrize(
    ("job", "study"),
    [
        ("digits/m/tune-3", "digits/m"),
        ("digits/m/cnn/tune_cnn-3", "digits/m/cnn"),
        ("digits/m/cnn/tune-0", "digits/m/cnn"),
        ("digits/m/train", ""),
        ("digits/tune-1/train", ""),
        ("digits/m/tune", ""),
    ],
)
def test_a_worker_says_its_study(job, study):
    assert study_of_worker(job) == study


def test_a_child_run_says_its_pipeline_run():
    assert child_run("digits/m/cnn", "trial", 3) == "digits/m/cnn/trial/3"
    assert run_of_child("digits/m/cnn/trial/3") == "digits/m/cnn"


@given(names, st.integers(0, 10**9 - 1))
def test_a_dataset_version_is_read_as_it_was_written(dataset, number):
    assert str(DatasetName.parse(dataset_version(dataset, number))) == dataset_version(dataset, number)


@pytest.mark.parametrize("text", ["digits", "digits@golden", "digits@v3", "digits@v0"])
def test_dataset_names(text):
    assert str(DatasetName.parse(text)) == text


@pytest.mark.parametrize(
    "text", ["", "Digits", "digits@", "digits@V 3", "digits@v3x y", "a" * 41, "../x@v1", "digits@v3@v4"]
)
def test_what_is_no_dataset_name_is_refused(text):
    with pytest.raises(ConfigError):
        DatasetName.parse(text)


@pytest.mark.parametrize("text", ["digits", "digits/3", "digits@champion", "prod.digits/12", ".digits@champion"])
def test_model_names(text):
    name = ModelName.match(text)
    assert name is not None
    assert str(name) == text
    assert ModelName.match(f"models:/{text}") == name


@given(names, installations | st.just(""), installations | st.just(""))
def test_a_model_of_any_installation_is_read_as_it_was_written(name, own, other):
    registered = registered_model(name, own)
    assert owner_of(registered) == own
    assert registered_model(shown_model(registered, own), own) == registered
    assert shown_model(registered, own) == name
    foreign = f".{name}" if not other and own else registered_model(name, other)
    there = registered_model(name, other)
    assert registered_model(shown_model(there, own), own) == there
    assert shown_model(there, own) == (name if other == own else foreign)
    read = ModelName.match(f"{foreign}/3")
    assert read is not None
    assert str(read.registered(own)) == f"{there}/3"
    assert (registered == there) == (own == other)


@given(st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,40}", fullmatch=True), installations | st.just(""))
def test_any_registered_model_can_be_named_from_anywhere(registered, own):
    assert registered_model(shown_model(registered, own), own) == registered


@given(dags, run_ids, installations | st.just(""), installations | st.just(""))
def test_a_key_without_an_installation_is_the_own_ones(dag, run, own, other):
    key = str(RunKey(dag, run, installation=own))
    assert kept_key(f"{dag}/{run}", own) == kept_key(key, own) == key
    assert owner_of_key(key) == own
    there = str(RunKey(dag, run, installation=other))
    assert kept_key(there if other else f":{there}", own) == there
    assert (key == there) == (own == other)


@settings(deadline=None, max_examples=30)
@given(installations, names)
def test_what_an_installation_may_be_called_all_tools_take(installation, name):
    import re
    from urllib.parse import quote

    from mlflow.utils.validation import _validate_experiment_name, _validate_model_name

    registered = registered_model(name, check_installation(installation))
    _validate_model_name(registered)
    _validate_experiment_name(f"airloom/{registered}")
    assert quote(registered, safe="") == registered
    assert re.fullmatch(r"[A-Za-z0-9_.-]{1,250}", registered)  # Airflow's ids
    assert len(registered) < 100  # of the table of tries


@pytest.mark.parametrize("text", ["Production", "prod_1", "1st", "prod-", "-", "a" * 31, "prod.eu", "prod:1", "a/b"])
def test_what_no_installation_may_be_called(text):
    with pytest.raises(ValueError, match="lower case letters, digits and -"):
        check_installation(text)


@pytest.mark.parametrize("text", ["", "digits/", "digits/x", "digits@", "digits/3@champion", "a b", "digits/manual__1"])
def test_what_is_no_model_name_is_none(text):
    assert ModelName.match(text) is None


@settings(deadline=None)
@given(st.text(max_size=260) | st.from_regex(r"[a/.:@ -]{0,12}", fullmatch=True))
def test_a_logged_name_is_one_that_mlflow_takes_and_another_is_given_a_better_one(name):
    from mlflow.exceptions import MlflowException
    from mlflow.utils.validation import _validate_metric, _validate_param

    try:
        check_logged("metric", name)
    except NameRefused as error:
        assert check_logged("metric", ast.literal_eval(error.hint.removeprefix("call it ")))
        return
    try:
        _validate_metric(f"best.{name}", 1.0, 1, 1)
        _validate_metric(name, 1.0, 1, 1)
        _validate_param(name, "x")
    except MlflowException as error:
        pytest.fail(f"{name!r}: {error}")


@pytest.mark.parametrize("name", ["hit@1", "a,b", "a//b", "../a", "/a", "a\n", "", ".", "x" * 241])
def test_what_mlflow_does_not_take_is_refused(name):
    with pytest.raises(NameRefused, match="MLflow takes no metric called"):
        check_logged("metric", name)


def test_ids_are_told_apart():
    assert is_prediction("0199AAAA-0000-7000-8000-000000000000")
    assert is_mlflow_run("0" * 32)
    assert not is_prediction("0" * 32)
    assert not is_mlflow_run("digits/3")


def test_it_starts_with_the_standard_library_only():
    code = "import sys; before = set(sys.modules); import airloom.names, airloom.tracking.tags, airloom.files; "
    code += "print(sorted(n for n in set(sys.modules) - before if n.partition('.')[0] not in sys.stdlib_module_names))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    ours = ["", ".errors", ".files", ".names", ".tracking", ".tracking.tags", ".version"]
    assert done.stdout.strip() == str([f"airloom{name}" for name in ours])
