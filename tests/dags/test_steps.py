"""A new step in one file runs under the operators, here and from the cache; only `resolve` reads the pipeline file."""

import shutil
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from airflow.sdk.exceptions import AirflowSkipException

from airloom.contracts import RunContext
from airloom.jobs.table import Attempts
from airloom.pipeline.steps.resolve import DEFINITION, contexts
from airloom.pipeline.steps.submit import run_step
from airloom.settings import Settings
from airloom.spec.load import definition, digest, load_pipeline
from airloom.tracking import runs
from airloom.tracking.tags import Tag
from airloom.tuning.slots import Slots

STEP = '''
"""Counts the rows that a pipeline run reads."""

from airloom.cache import lookup, manifest
from airloom.contracts import RunContext
from airloom.pipeline.steps.base import Step, light
from airloom.settings import load


def reads(settings, ctx, arguments):
    counted = {"times": str(arguments["times"])}
    return manifest.StepManifest(manifest.read_snapshot(ctx.snapshot), {}, {}, {}, {}, {}, counted)


STEP = Step("count", "counting:count", resources=light, reads=reads)


def count(context, times):
    settings, ctx = load(), RunContext.from_dict(context)

    def work():
        return {"rows": times * sum(ctx.snapshot.rows.values())}

    return lookup.remember(settings, ctx, STEP, {"times": times}, work)
'''
VALUES = {
    "pipeline": "counted",
    "dataset": {"name": "ticks"},
    "train": "model.py:train",
    "tune": {"trials": 3, "objective": {"metric": "m"}, "space": {"width": {"int": [4, 8]}}},
    "gate": {"at_least": {"accuracy": 0.5}, "against_champion": {"superior": True}},
    "resources": {"time": 60},
}


class Task:
    """A task instance and its context, as the operators use them."""

    def __init__(self, operator, run: str) -> None:
        self.pushed: dict = {}
        names = {"task_id": operator.task_id, "map_index": -1, "max_tries": 2, "dag_id": "counted", "run_id": run}
        ti = SimpleNamespace(**names, xcom_push=lambda key, value: self.pushed.update({key: value}))
        self.context = {"ti": ti, "task": operator, "dag": SimpleNamespace(dag_id="counted"), "run_id": run}


def execute(operator, run: str):
    task = Task(operator, run)
    return operator.execute(task.context), task.pushed


@pytest.fixture(scope="module")
def project(migrated: Path, tmp_path_factory: pytest.TempPathFactory, warm_jobs: None) -> Iterator[Settings]:
    """A project with a dataset, a pipeline file and a module with a step of its own."""
    from airloom.datasets.commit import commit
    from airloom.datasets.ingest.images import image_table

    folder = tmp_path_factory.mktemp("steps")
    (folder / "counting.py").write_text(textwrap.dedent(STEP))
    (folder / "model.py").write_text("def train(run): pass\n")
    (folder / "home" / "mlflow").mkdir(parents=True)
    shutil.copy(migrated, folder / "home" / "mlflow" / "mlflow.db")
    (folder / "counted.yaml").write_text(yaml.safe_dump(VALUES))
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
            patch.setenv(name, "")
        patch.setenv("AIRLOOM_HOME", str(folder / "home"))
        patch.setenv("AIRLOOM_PROJECT", str(folder))
        patch.setenv("PYTHONPATH", str(folder), prepend=":")
        patch.syspath_prepend(str(folder))
        settings = Settings(home=folder / "home", project=folder, tracking_uri="")
        images = np.random.default_rng(0).uniform(0.1, 0.6, (40, 1, 8, 8)).astype(np.float32)
        suite = Path(__file__).parents[2] / "configs" / "expectations" / "digits.json"
        commit(settings, "ticks", image_table(images, np.arange(40) % 10), message="tick", author="Ada", suite=suite)
        yield settings
    sys.modules.pop("counting", None)


@pytest.fixture
def resolved(project: Settings, request: pytest.FixtureRequest):
    """The context that `ResolveOperator` returns; the file is another one, and then gone, before anything follows."""
    from airloom_operators.resolve import ResolveOperator

    file = project.project / "counted.yaml"
    operator = ResolveOperator(task_id="resolve", pipeline_file="counted.yaml", retries=2)
    context, _ = execute(operator, request.node.name)
    file.write_text("pipeline: [nonsense")
    file.unlink()
    yield context
    file.write_text(yaml.safe_dump(VALUES))


def resolve_as(task: str, run: str, index: int = -1, file: str = "counted.yaml", **arguments) -> RunContext:
    """The context that a task of one DAG `both` returns."""
    from airloom_operators.resolve import ResolveOperator

    operator = ResolveOperator(task_id=task, pipeline_file=file, retries=2, **arguments)
    instance = Task(operator, run)
    instance.context["dag"] = SimpleNamespace(dag_id="both")
    instance.context["ti"].map_index = index
    return RunContext.from_dict(operator.execute(instance.context))


def apart(contexts: list[RunContext], settings: Settings) -> None:
    """Each has a key, an MLflow run, a study and jobs of its own."""
    from airloom.pipeline.steps import train, tune

    assert len({context.key for context in contexts}) == len(contexts)
    assert len({context.mlflow_run for context in contexts}) == len(contexts)
    assert [Slots(settings.database_address).tally(context.key).trials for context in contexts] == [3] * len(contexts)
    jobs = {str(step.key(context, {"worker": 0})) for context in contexts for step in (tune.STEP, train.STEP)}
    assert len(jobs) == 2 * len(contexts)


def test_two_pipelines_in_one_dag_run_share_nothing(project: Settings) -> None:
    (project.project / "second.yaml").write_text(yaml.safe_dump({**VALUES, "pipeline": "second"}))
    contexts = [resolve_as("first", "r1"), resolve_as("other", "r1", file="second.yaml")]
    assert [context.key for context in contexts] == ["both/r1@counted", "both/r1@second"]
    apart(contexts, project)


def test_one_pipeline_mapped_over_parameters_shares_nothing(project: Settings) -> None:
    contexts = [resolve_as("resolve", "r2", index, parameters={"width": width}) for index, width in enumerate((4, 8))]
    assert [context.key for context in contexts] == ["both/r2@counted[0]", "both/r2@counted[1]"]
    assert [context.parameters for context in contexts] == [{"width": 4}, {"width": 8}]
    apart(contexts, project)
    again = resolve_as("resolve", "r2", 1, parameters={"width": 8})  # a retry
    assert (again.key, again.mlflow_run) == (contexts[1].key, contexts[1].mlflow_run)


def test_two_tasks_that_resolve_one_pipeline_are_refused_rather_than_share(project: Settings) -> None:
    from airflow.sdk.exceptions import AirflowException

    first = resolve_as("small", "r3", parameters={"width": 4})
    with pytest.raises(AirflowException, match="the tasks small and large of one DAG run both resolve") as caught:
        resolve_as("large", "r3", parameters={"width": 8})
    assert "map one task over the parameters" in str(caught.value)
    assert resolve_as("small", "r3", parameters={"width": 4}).mlflow_run == first.mlflow_run


def test_a_step_of_ones_own_is_short() -> None:
    assert len(STEP.strip().splitlines()) < 40


def test_a_step_of_ones_own_runs_under_an_operator_here_and_from_the_cache(project: Settings, resolved: dict) -> None:
    from counting import STEP as COUNT

    from airloom_operators.job import JobOperator

    run = RunContext.from_dict(resolved)
    operator = JobOperator(
        task_id="count", context=resolved, arguments={"times": 2}, step=COUNT, deferrable=False, retries=2
    )
    value, pushed = execute(operator, "r")
    assert value == {"rows": 80}
    assert pushed["cache"]["why"] == ["no earlier run of this pipeline is kept for it"]
    # The same job: it is there, and gives its result again.
    lines: list[str] = []
    assert run_step(project, run, COUNT, {"times": 2}, lines.append) == {"rows": 80}
    assert [attempt.key for attempt in Attempts(project.database_address).of(f"{run.key}/count")] == [
        f"{run.key}/count"
    ]
    # Another run takes it; other arguments are named.
    parent = runs.ensure_parent(project, "counted", "counted/another", {})
    other = run.with_(key="counted/another", experiment=parent[0], mlflow_run=parent[1])
    lines.clear()
    assert run_step(project, other, COUNT, {"times": 2}, lines.append) == {"rows": 80}
    assert lines == [f"HIT: count reuses {run.key}, MLflow run {run.mlflow_run}"]
    assert not Attempts(project.database_address).of("counted/another/count")
    lines.clear()
    assert run_step(project, other.with_(key="counted/third"), COUNT, {"times": 3}, lines.append) == {"rows": 120}
    assert lines[0] == "MISS: times 2 -> 3"


def test_no_step_reads_the_file_after_resolve(project: Settings, resolved: dict) -> None:
    """The study is made of what `resolve` fixed, and the gate decides by it, in a job, without the file."""
    from airloom_operators.gate import GateOperator
    from airloom_operators.register import RegisterOperator
    from airloom_operators.tune import TuneOperator

    run = RunContext.from_dict(resolved)
    assert Slots(project.database_address).tally(run.key).trials == 3
    tune = TuneOperator(task_id="tune", context=resolved, arguments={"worker": 0}, retries=2)
    key, spec = tune.job_of(project, Task(tune, "r").context)
    assert (key, spec.resources.time) == (f"{run.key}/tune", 30 * 86_400.0)
    assert RunContext.from_dict(spec.arguments["context"]) == run
    evaluation = {
        "metrics": {"accuracy": 0.9},
        "champion_version": "",
        "champion_metrics": {},
        "predictions": "evaluation/predictions.parquet",
        "rows": 10,
        "candidates": ["models:/m-0"],
    }
    gate = GateOperator(
        task_id="gate", context=resolved, arguments={"evaluation": evaluation}, deferrable=False, retries=2
    )
    decision, _ = execute(gate, "r")
    assert not decision["passed"]  # there are no predictions
    register = RegisterOperator(
        task_id="register",
        context=resolved,
        trained={"model_uri": "models:/m-0"},
        evaluation=evaluation,
        decision=decision,
    )
    with pytest.raises(AirflowSkipException):
        execute(register, "r")


def test_the_run_keeps_its_definition_and_the_digest(project: Settings, resolved: dict, tmp_path: Path) -> None:
    run = RunContext.from_dict(resolved)
    whole = definition(run)
    client = runs.client(project)
    kept = yaml.safe_load(Path(client.download_artifacts(run.mlflow_run, DEFINITION, str(tmp_path))).read_text())
    assert type(whole).model_validate(kept) == whole  # every default stands in it
    assert client.get_run(run.mlflow_run).data.tags[Tag.SPEC] == digest(whole)
    (project.project / "counted.yaml").write_text(yaml.safe_dump(VALUES))
    assert digest(load_pipeline(project.project / "counted.yaml")) == digest(whole)


def test_a_run_that_an_earlier_release_resolved_is_refused_by_name(resolved: dict) -> None:
    from airloom.errors import ConfigError

    old = {name: value for name, value in resolved.items() if name != "spec"} | {"pipeline_file": "/x.yaml"}
    with pytest.raises(ConfigError, match="clear its task `resolve`"):
        RunContext.from_dict(old)


def test_airflow_and_airloom_run_build_the_same_keys(resolved: dict) -> None:
    """Also for a candidate, whose tasks are called `tune_cnn` and `train_cnn` by the DAG factory."""
    from airloom.pipeline.steps import train, tune
    from airloom_operators.train import TrainOperator
    from airloom_operators.tune import TuneOperator

    spec = {**VALUES, "candidates": {"cnn": {"train": "model.py:train"}}}
    spec.pop("train")
    run = RunContext.from_dict(resolved).with_(spec=spec)
    (of_cnn,) = contexts(run).values()
    operator = TrainOperator(task_id="train_cnn", context=run.to_dict(), candidate="cnn")
    assert str(operator.key(Task(operator, "r").context, of_cnn)) == str(train.STEP.key(of_cnn, {}))
    worker = TuneOperator(task_id="tune_cnn", context=run.to_dict(), candidate="cnn", arguments={"worker": 1})
    context = Task(worker, "r").context
    context["ti"].map_index = 1
    assert str(worker.key(context, of_cnn)) == str(tune.STEP.key(of_cnn, {"worker": 1})) == f"{run.key}/cnn/tune-1"
    own = TrainOperator(task_id="my_training", context=run.to_dict(), candidate="cnn")
    assert str(own.key(Task(own, "r").context, of_cnn)) == f"{run.key}/cnn/my_training"
