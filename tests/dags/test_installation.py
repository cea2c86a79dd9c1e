"""Under Airflow too, a run and the jobs of a task belong to the installation."""

from types import SimpleNamespace

import pytest
from airflow.sdk.exceptions import AirflowException

from airloom.errors import RegistryError
from airloom.settings import load


@pytest.fixture
def context(tmp_path, monkeypatch):
    monkeypatch.setenv("AIRLOOM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AIRLOOM_PROJECT", str(tmp_path))
    monkeypatch.setenv("AIRLOOM_NAMESPACE", "production")
    ti = SimpleNamespace(task_id="compact", map_index=-1, max_tries=0)
    return {
        "ti": ti,
        "dag": SimpleNamespace(dag_id="nightly"),
        "run_id": "manual__1",
        "task": SimpleNamespace(retries=0),
    }


def test_the_key_of_a_pipeline_run_has_its_name(context, monkeypatch):
    from airloom_operators.resolve import ResolveOperator

    keys = []

    def resolve(settings, file, key, *_, **__):
        keys.append(key("digits"))
        raise RegistryError("that is enough")

    monkeypatch.setattr("airloom.pipeline.steps.resolve.resolve", resolve)
    operator = ResolveOperator(task_id="resolve", pipeline_file="digits.yaml")
    with pytest.raises(AirflowException, match="that is enough"):
        operator.execute(context)
    assert keys == ["production:nightly/manual__1@digits"]


def test_the_key_of_a_datasets_job_has_its_name(context):
    from airloom_operators.datasets.compact import CompactDatasetOperator

    key, _ = CompactDatasetOperator(task_id="compact", dataset="digits").job_of(load(), context)
    assert key == "production:nightly/manual__1/compact"
