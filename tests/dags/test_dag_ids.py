"""A pipeline whose name another folder, project or DAG file of the same Airflow has: told, and it replaces nothing."""

import json
import os
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
TEXT = (PROJECT / "configs" / "pipelines" / "digits.yaml").read_text()
DAG_FILE = '"""airflow"""\nfrom airloom_operators import build_dags\n\n'


@pytest.fixture(autouse=True)
def airflow_home(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "airflow"))
    (tmp_path / "airflow").mkdir()
    return tmp_path / "airflow"


def folder(place: Path, *names: str) -> Path:
    """A project's folder of pipelines."""
    place.mkdir(parents=True)
    for name in names:
        (place / f"{name}.yaml").write_text(TEXT.replace("pipeline: digits", f"pipeline: {name}"))
    return place


def dag_file(home: Path, name: str, *folders: Path) -> Path:
    file = home / f"{name}.py"
    file.write_text(DAG_FILE + "".join(f"build_dags({str(one)!r})\n" for one in folders))
    return file


def read(file: Path, errors: str = "") -> dict:
    """As Airflow's DAG processor does, a file at a time."""
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(dag_folder=str(file))
    found = " ".join(bag.import_errors.values())
    assert (errors in found) if errors else not found
    return bag.dags


def built_from(dag) -> str:
    return dag.get_task("resolve").pipeline_file


def test_two_calls_in_one_dag_file(tmp_path: Path, monkeypatch) -> None:
    ours, theirs = folder(tmp_path / "a", "digits"), folder(tmp_path / "b", "digits", "other")
    file = dag_file(tmp_path, "both", ours, theirs)
    for wanted in (None, "digits", "digits.wrong"):  # a task reads the file as well
        if wanted:
            monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", wanted)
        dags = read(file)
        assert set(dags) >= ({wanted} if wanted else {"digits", "other", "digits.wrong"})
        if "digits" in dags:
            assert built_from(dags["digits"]) == str(ours / "digits.yaml")
        if "digits.wrong" in dags:
            says = dags["digits.wrong"].doc_md
            assert f"{theirs / 'digits.yaml'} and {ours / 'digits.yaml'}" in says
            assert "are both of pipeline 'digits'" in says
            assert "rename one of them" in says


def test_two_dag_files_and_the_first_keeps_its_dag(tmp_path: Path, monkeypatch) -> None:
    ours, theirs = folder(tmp_path / "a", "digits"), folder(tmp_path / "b", "digits", "other")
    first, second = dag_file(tmp_path, "first", ours), dag_file(tmp_path, "second", theirs)
    for _ in range(2):
        assert built_from(read(first)["digits"]) == str(ours / "digits.yaml")
        dags = read(second)
        assert set(dags) == {"other", "digits.wrong", "announce-digits"}
        assert f"{ours / 'digits.yaml'} (of the DAG file {first})" in dags["digits.wrong"].doc_md
    os.utime(first)  # a change of the first file, a task of which begins before Airflow has read it again
    assert "digits" in read(second)
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", "digits")
    assert built_from(read(first)["digits"]) == str(ours / "digits.yaml")


def test_a_project_of_nothing_else_is_an_import_error(tmp_path: Path) -> None:
    first = dag_file(tmp_path, "first", folder(tmp_path / "a", "digits"))
    second = dag_file(tmp_path, "second", folder(tmp_path / "b", "digits"))
    read(first)
    assert not read(second, "are both of pipeline 'digits'")


def test_a_wrong_file_takes_not_the_place_of_another_projects_dag(tmp_path: Path) -> None:
    ours, theirs = folder(tmp_path / "a", "digits"), folder(tmp_path / "b", "other")
    (theirs / "digits.yaml").write_text("pipeline: [")
    read(dag_file(tmp_path, "first", ours))
    assert set(read(dag_file(tmp_path, "second", theirs))) == {"other", "digits.wrong", "announce-digits"}


@pytest.mark.parametrize("gone", ["dag file", "pipeline file", "renamed", "long ago"])
def test_what_is_gone_holds_back_no_other(tmp_path: Path, airflow_home: Path, gone: str) -> None:
    ours, theirs = folder(tmp_path / "a", "digits"), folder(tmp_path / "b", "digits")
    first, second = dag_file(tmp_path, "first", ours), dag_file(tmp_path, "second", theirs)
    read(first)
    kept = airflow_home / "airloom_dag_ids.json"
    if gone == "dag file":
        first.unlink()
    elif gone == "pipeline file":
        (ours / "digits.yaml").unlink()
    elif gone == "renamed":
        (ours / "digits.yaml").write_text(TEXT.replace("pipeline: digits", "pipeline: ours"))
        read(first)
    else:
        entries = json.loads(kept.read_text())
        entries[str(first)]["read"] -= 10_000
        kept.write_text(json.dumps(entries))
    assert built_from(read(second)["digits"]) == str(theirs / "digits.yaml")


def test_a_damaged_or_unwritable_record_hides_no_dag(tmp_path: Path, airflow_home: Path, monkeypatch) -> None:
    file = dag_file(tmp_path, "first", folder(tmp_path / "a", "digits"))
    (airflow_home / "airloom_dag_ids.json").write_text("[")
    assert "digits" in read(file)
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "nowhere"))
    assert "digits" in read(file)


def test_what_airflow_does_not_read_claims_nothing(tmp_path: Path, airflow_home: Path) -> None:
    from airloom_operators import build_dags

    for place in (folder(tmp_path / "a", "digits"), folder(tmp_path / "b", "digits")):
        assert "digits" in build_dags(place)
    assert not list(airflow_home.iterdir())
