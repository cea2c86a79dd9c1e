"""What every DAG of the project keeps to."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
EXAMPLES = [file for file in sorted((PROJECT / "docs" / "how-to").glob("*.py")) if "airflow" in file.read_text()]
FILES = [*sorted((PROJECT / "dags").glob("*.py")), *EXAMPLES]
HEAVY = {"torch", "mlflow", "optuna", "dvc", "bentoml", "great_expectations", "pandas"}


def dags_of(file: Path) -> list:
    """As Airflow finds them in a file."""
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(dag_folder=str(file))
    assert not bag.import_errors
    return list(bag.dags.values())


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_parsing_imports_no_heavy_library(file: Path) -> None:
    program = (
        "import runpy, sys; runpy.run_path(sys.argv[1]); "
        f"print(','.join(sorted({HEAVY!r} & {{name.partition('.')[0] for name in sys.modules}})))"
    )
    done = subprocess.run([sys.executable, "-c", program, str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1:] in ([], [""]), f"{file.name} imports {done.stdout}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_dag_has_an_owner_tags_and_docs(file: Path) -> None:
    dags = dags_of(file)
    assert dags
    for dag in dags:
        assert dag.tags
        assert dag.doc_md
        assert {task.owner for task in dag.tasks} == {"airloom"}


def test_the_pipeline_dag_has_the_steps_in_order_and_typed_params() -> None:
    dag = {dag.dag_id: dag for dag in dags_of(PROJECT / "dags" / "pipelines.py")}["digits"]
    order = [task.task_id for task in dag.topological_sort()]
    assert order == ["resolve", "tune", "train", "evaluate", "gate", "register", "deploy"]
    assert dag.params.get_param("dataset_version").schema["type"] == ["null", "integer"]
    assert dag.params.get_param("parameters").schema["type"] == "object"


def test_a_run_is_about_the_version_of_its_partition_else_the_given_one_else_the_newest() -> None:
    from airloom.errors import ConfigError
    from airloom_operators.resolve import wanted_version

    assert wanted_version("v3", None) == 3
    assert wanted_version("v3", 3) == 3
    assert wanted_version(None, "7") == 7
    assert wanted_version(None, None) is None
    with pytest.raises(ConfigError, match="partition v3, its dataset version is 2"):
        wanted_version("v3", 2)
    with pytest.raises(ConfigError, match="'2026-01-01' names no dataset version"):
        wanted_version("2026-01-01", None)


def project(folder: Path, **datasets: str) -> Path:
    """A project with one pipeline a keyword, each on the dataset that it names; returns its DAG file."""
    shutil.copytree(PROJECT / "dags", folder / "dags", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "configs" / "pipelines").mkdir(parents=True)
    text = (PROJECT / "configs" / "pipelines" / "digits.yaml").read_text()
    for pipeline, dataset in datasets.items():
        changed = text.replace("pipeline: digits", f"pipeline: {pipeline}").replace("name: digits", f"name: {dataset}")
        (folder / "configs" / "pipelines" / f"{pipeline}.yaml").write_text(changed)
    return folder / "dags" / "pipelines.py"


def test_one_dag_announces_a_dataset_however_many_pipelines_read_it(tmp_path: Path) -> None:
    from airflow.sdk import PartitionedAssetTimetable

    found = {dag.dag_id: dag for dag in dags_of(project(tmp_path, one="ticks", two="ticks", three="tocks"))}
    assert set(found) == {"one", "two", "three", "announce-ticks", "announce-tocks"}
    for name in ("one", "two", "three"):
        timetable = found[name].timetable
        assert isinstance(timetable, PartitionedAssetTimetable)
        assert not timetable.asset_condition.watchers
    assert found["one"].timetable.asset_condition.uri == "airloom://datasets/ticks"
    announcer = found["announce-ticks"]
    (task,) = announcer.tasks
    assert [asset.uri for asset in task.outlets] == ["airloom://datasets/ticks"]
    assert announcer.timetable.asset_condition.objects[0].uri == "airloom://repository/ticks"
    assert (announcer.max_active_runs, task.max_active_tis_per_dag, announcer.catchup) == (1, 1, False)


@pytest.mark.parametrize("wanted", ["one", "announce-tocks"])
def test_a_task_builds_only_the_dag_that_it_runs(tmp_path: Path, monkeypatch, wanted: str) -> None:
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", wanted)
    found = dags_of(project(tmp_path, one="ticks", two="ticks", three="tocks"))
    assert [dag.dag_id for dag in found] == [wanted]


def test_a_folder_that_is_not_there_and_two_files_of_one_pipeline_are_refused(tmp_path: Path) -> None:
    from airloom.errors import ConfigError
    from airloom_operators import build_dags

    for folder in (tmp_path / "gone", "configs/pipelines"):
        with pytest.raises(ConfigError, match="there is no such folder, by an absolute path"):
            build_dags(folder)
    text = (PROJECT / "configs" / "pipelines" / "digits.yaml").read_text()
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"a\.yaml and .*b\.yaml are both of pipeline 'digits'"):
        build_dags(tmp_path)


def test_an_asset_address_of_another_form_is_refused() -> None:
    from urllib.parse import urlsplit

    from airloom_operators.assets import sanitize_uri

    for uri in ("airloom://datasets/digits", "airloom://repository/digits"):
        assert sanitize_uri(urlsplit(uri)).path == "/digits"
    for uri in ("airloom://models/digits", "airloom://datasets/a/b", "airloom://datasets/", "airloom://datasets/a?b"):
        with pytest.raises(ValueError, match="airloom://datasets/<name>"):
            sanitize_uri(urlsplit(uri))


def test_a_pipeline_that_skips_what_it_missed_says_so_with_a_tag_and_an_announcer_is_never_born_paused(
    tmp_path: Path,
) -> None:
    from airloom.spec.pipeline import SKIP_MISSED
    from airloom_operators.announce import build_announcer
    from airloom_operators.factory import build_dag

    text = (PROJECT / "configs" / "pipelines" / "digits.yaml").read_text()
    (tmp_path / "a.yaml").write_text(text)
    (tmp_path / "b.yaml").write_text(f"{text}missed: skip\n")
    assert [SKIP_MISSED in build_dag(tmp_path / name).tags for name in ("a.yaml", "b.yaml")] == [False, True]
    assert build_announcer("ticks").is_paused_upon_creation is False


def test_a_file_that_is_wrong_hides_no_other_and_says_what_is_wrong_as_a_dag(tmp_path: Path) -> None:
    from airflow.sdk.exceptions import AirflowException

    from airloom_operators.wrong_files import WRONG

    dag_file = project(tmp_path, one="ticks", two="tocks")
    configs = tmp_path / "configs" / "pipelines"
    text = (configs / "one.yaml").read_text()
    (configs / "three.yaml").write_text(text.replace("pipeline: one", "pipeline: three").replace("trials", "trails"))
    (configs / "two copy.yaml").write_text((configs / "two.yaml").read_text())
    found = {dag.dag_id: dag for dag in dags_of(dag_file)}
    assert set(found) == {"one", "three", "two", "two_copy", "announce-ticks"}
    for name, says in {
        "three": "tune.trails: unknown key; did you mean 'trials'?",
        "two": "are both of pipeline 'two'",
        "two_copy": "rename one of them",
    }.items():
        dag = found[name]
        (task,) = dag.tasks
        assert WRONG in dag.tags
        assert says in dag.doc_md
        assert dag.dag_display_name == f"{name}: its pipeline file is wrong"
        with pytest.raises(AirflowException, match=r"\.yaml") as caught:
            task.execute({})
        assert says in str(caught.value)
    assert not found["three"].timetable.can_be_scheduled


def test_the_task_of_a_right_file_is_built_beside_a_wrong_one(tmp_path: Path, monkeypatch) -> None:
    dag_file = project(tmp_path, one="ticks")
    (tmp_path / "configs" / "pipelines" / "broken.yaml").write_text("pipeline: [")
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", "one")
    assert [dag.dag_id for dag in dags_of(dag_file)] == ["one"]


def test_a_wrong_file_called_like_another_pipeline_takes_not_its_place(tmp_path: Path) -> None:
    from airloom_operators import build_dags
    from airloom_operators.wrong_files import WRONG

    text = (PROJECT / "configs" / "pipelines" / "digits.yaml").read_text()
    (tmp_path / "a.yaml").write_text(text.replace("pipeline: digits", "pipeline: b"))
    (tmp_path / "b.yaml").write_text("pipeline: [")
    dags = build_dags(tmp_path)
    assert set(dags) == {"b", "b.wrong", "announce-digits"}
    assert WRONG not in dags["b"].tags


def test_where_no_file_is_right_it_is_an_import_error(tmp_path: Path) -> None:
    from airloom.errors import ConfigError
    from airloom_operators import build_dags

    (tmp_path / "a.yaml").write_text("pipeline: [")
    with pytest.raises(ConfigError, match=r"a\.yaml: not readable as YAML"):
        build_dags(tmp_path)
