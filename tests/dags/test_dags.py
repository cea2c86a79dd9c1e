"""What every DAG of the project keeps to."""

import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

PROJECT = Path(__file__).resolve().parents[2]
EXAMPLES = [file for file in sorted((PROJECT / "docs" / "how-to").glob("*.py")) if "airflow" in file.read_text()]
FILES = [*sorted((PROJECT / "dags").glob("*.py")), *EXAMPLES]
HEAVY = {"torch", "mlflow", "optuna", "dvc", "bentoml", "great_expectations", "pandas"}


def dags_of(file: Path) -> list:
    from airflow.sdk import DAG

    found = runpy.run_path(str(file)).values()
    return list({dag.dag_id: dag for dag in found if isinstance(dag, DAG)}.values())


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
    (dag,) = dags_of(PROJECT / "dags" / "pipelines.py")
    order = [task.task_id for task in dag.topological_sort()]
    assert order == ["resolve", "tune", "train", "evaluate", "gate", "register", "deploy"]
    assert dag.params.get_param("dataset_version").schema["type"] == ["null", "integer"]
    assert dag.params.get_param("parameters").schema["type"] == "object"


def test_the_newest_of_several_events_is_resolved() -> None:
    from airloom_operators.resolve import newest_version

    events = {
        "asset": [
            SimpleNamespace(extra={"from_trigger": True, "payload": {"version": 3}}),
            SimpleNamespace(extra={"version": 2, "from_rest_api": True}),
        ]
    }
    assert newest_version(events) == 3
    assert newest_version({}) is None


def test_an_asset_address_of_another_form_is_refused() -> None:
    from urllib.parse import urlsplit

    from airloom_operators.assets import sanitize_uri

    assert sanitize_uri(urlsplit("airloom://datasets/digits")).path == "/digits"
    with pytest.raises(ValueError, match="airloom://datasets/<name>"):
        sanitize_uri(urlsplit("airloom://models/digits"))


def test_the_watcher_announces_each_version_once_across_restarts(tmp_path: Path, monkeypatch) -> None:
    import asyncio

    from airloom_operators.triggers import dataset as module

    monkeypatch.setenv("AIRLOOM_HOME", str(tmp_path))
    monkeypatch.setattr(module, "POLL_SECONDS", 0.01)
    repo = tmp_path / "data" / "datasets.git"
    repo.mkdir(parents=True)
    identity = ["-c", "user.name=t", "-c", "user.email=t@t"]
    subprocess.run(["git", "init", "-q", str(repo)], check=True)

    def publish(number: int) -> None:
        for command in (["commit", "-q", "--allow-empty", "-m", str(number)], ["tag", f"digits@v{number}"]):
            subprocess.run(["git", "-C", str(repo), *identity, *command], check=True)

    async def take(count: int) -> list[int]:
        found: list[int] = []
        async for event in module.DatasetVersionTrigger("digits").run():
            found.append(event.payload["version"])
            if len(found) == count:
                await asyncio.sleep(0)
                break
        return found

    async def take_and_settle(count: int) -> list[int]:
        stream = module.DatasetVersionTrigger("digits").run()
        found = [(await anext(stream)).payload["version"] for _ in range(count)]
        settle = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0.2)
        settle.cancel()
        return found

    publish(1)
    publish(2)
    assert asyncio.run(take(1)) == [1]
    assert asyncio.run(take_and_settle(2)) == [1, 2]  # 1 was handed over, but not confirmed: never lost
    publish(10)
    assert asyncio.run(take_and_settle(1)) == [10]
