"""Tasks with a HIT: what they return, say and link, and that no job is made; a cleared task runs."""

import hashlib
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from airloom.cache import entries
from airloom.contracts import CacheDecision, RunContext, Snapshot, StudyResult, TrainedModel
from airloom.jobs.table import Attempts
from airloom.pipeline.steps import promote
from airloom.pipeline.steps import train as train_step
from airloom.settings import Settings
from airloom.tracking import runs
from airloom.tuning.slots import Slots

STUDY = StudyResult("digits/first", 1, 0, 0, 0.5, {"width": 4}, {"validation_accuracy": 0.5})
SPLIT = {"train": 0.6, "validation": 0.15, "test": 0.25}


class Task:
    """A task instance as the operators use it."""

    def __init__(self, operator, max_tries: int = 2) -> None:
        self.pushed: dict = {}
        names = {
            "task_id": operator.task_id,
            "map_index": -1,
            "max_tries": max_tries,
            "dag_id": "digits",
            "run_id": "r",
        }
        ti = SimpleNamespace(**names, xcom_push=lambda key, value: self.pushed.update({key: value}))
        self.context = {"ti": ti, "task": operator}


@pytest.fixture
def settings(migrated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("AIRLOOM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AIRLOOM_PROJECT", str(tmp_path))
    (tmp_path / "model.py").write_text("def train(run): pass\n")
    (tmp_path / "home" / "mlflow").mkdir(parents=True)
    shutil.copy(migrated, tmp_path / "home" / "mlflow" / "mlflow.db")
    return Settings(home=tmp_path / "home", project=tmp_path, tracking_uri="")


@pytest.fixture
def second(settings: Settings) -> RunContext:
    """A run that takes an earlier one's study, whose training is there too."""
    file = settings.project / "digits.yaml"
    space = {"width": {"int": [4, 8]}}
    gate = {"at_least": {"accuracy": 0.5}, "against_champion": {"superior": True}}
    tune = {"trials": 1, "objective": {"metric": "validation_accuracy"}, "space": space}
    values = {
        "pipeline": "digits",
        "dataset": {"name": "digits"},
        "train": "model.py:train",
        "tune": tune,
        "gate": gate,
    }
    file.write_text(yaml.safe_dump(values))
    snapshot = Snapshot("s", "digits", 1, "v", "c", SPLIT, {})
    contexts = []
    for key in ("first", "second"):
        experiment, run = runs.ensure_parent(settings, "digits", f"digits/{key}", {})
        contexts.append(RunContext("digits", values, f"digits/{key}", run, experiment, snapshot))
    first, ctx = contexts
    decision = CacheDecision("tune", True, [], first.mlflow_run, first.key, STUDY.to_dict())
    ctx = ctx.with_(studies={"": decision.to_dict()})
    reads = train_step.reads(settings, ctx, {})
    client, trained = runs.client(settings), train(settings, first)
    entries.keep(client, trained.mlflow_run, "train", reads, trained.to_dict(), {})
    client.set_terminated(trained.mlflow_run)
    return ctx


def train(settings: Settings, ctx: RunContext) -> TrainedModel:
    import mlflow

    client = runs.client(settings)
    run = runs.ensure_child(client, ctx, "train")
    folder = settings.home / "made"
    folder.mkdir()
    (folder / "model.onnx").write_text("x")
    model = client.create_logged_model(ctx.experiment, name="model", source_run_id=run)
    client.log_model_artifacts(model.model_id, str(folder))
    client.finalize_logged_model(model.model_id, "READY")
    got = Path(mlflow.artifacts.download_artifacts(artifact_uri=f"models:/{model.model_id}"))
    files = [path for path in got.rglob("*") if path.is_file()]
    digests = {p.relative_to(got).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
    return TrainedModel(run, f"models:/{model.model_id}", digests, {}, {})


def jobs(settings: Settings) -> list:
    return Attempts(settings.database_address).recent()


def test_a_hit_passes_without_a_job_and_links_the_run_that_it_takes(settings: Settings, second: RunContext) -> None:
    from airloom_operators.train import TrainOperator
    from airloom_operators.tune import TuneOperator

    operator = TrainOperator(task_id="train", context=second.to_dict(), retries=2)
    task = Task(operator)
    found = operator.execute(task.context)
    made = found["model"]["mlflow_run"]
    assert found["study"] == STUDY.to_dict()
    assert operator.mlflow_link.endswith(f"/runs/{made}")
    assert task.pushed["cache"] == {"hit": True, "why": [], "run": made}
    tune = TuneOperator(task_id="tune", context=second.to_dict(), arguments={"worker": 1}, retries=2)
    assert tune.execute(Task(tune).context) == {"worker": 1, "trials": 0, "failed": 0, "over": ""}
    assert jobs(settings) == []
    tags = runs.client(settings).get_run(second.mlflow_run).data.tags
    assert tags["airloom.reused.train"] == made


def test_a_cleared_task_is_a_miss_and_gets_a_study_of_its_own(settings: Settings, second: RunContext) -> None:
    from airloom_operators.train import TrainOperator
    from airloom_operators.tune import TuneOperator

    runs.client(settings).set_tag(second.mlflow_run, "airloom.reused.tune", "x")  # as `resolve` does
    operator = TuneOperator(task_id="tune", context=second.to_dict(), arguments={"worker": 0}, retries=2)
    task = Task(operator, max_tries=3)
    decision = operator._decision(task.context)
    assert (decision.hit, decision.why) == (False, ["a person cleared it: it runs anew"])
    assert task.pushed["cache"]["hit"] is False
    key, spec = operator.job_of(settings, task.context)
    assert (key, spec.step) == ("digits/second/tune", "airloom.pipeline.steps.tune:work")
    assert Slots(settings.database_address).tally("digits/second").trials == 1
    tags = runs.client(settings).get_run(second.mlflow_run).data.tags
    assert "airloom.reused.tune" not in tags
    # What follows belongs to the new study, also where nobody cleared it.
    train = TrainOperator(task_id="train", context=second.to_dict(), retries=2)
    assert not train._decision(Task(train).context).hit


def test_the_dag_has_a_switch_and_resolve_takes_it(settings: Settings, second: RunContext) -> None:
    from airloom_operators.factory import build_dag
    from airloom_operators.job import JobOperator

    dag = build_dag(settings.project / "digits.yaml")
    assert dag.params["cache"] is True
    assert dag.get_task("resolve").cache == "{{ params.cache }}"
    assert [task.task_id for task in dag.tasks if isinstance(task, JobOperator) and task.step_record.reads] == [
        "train",
        "evaluate",
    ]


def test_the_champion_itself_is_not_evaluated_and_what_follows_is_skipped(
    settings: Settings, second: RunContext, capsys: pytest.CaptureFixture[str]
) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    from airloom_operators.evaluate import EvaluateOperator
    from airloom_operators.gate import GateOperator
    from airloom_operators.train import TrainOperator

    trained = TrainOperator(task_id="train", context=second.to_dict(), retries=2)
    model = trained.execute(Task(trained).context)["model"]
    client = runs.client(settings)
    client.create_registered_model("digits")
    tags = {"airloom.model_uri": model["model_uri"], "airloom.digests": json.dumps(model["digests"])}
    version = client.create_model_version("digits", model["model_uri"], model["mlflow_run"], tags=tags).version
    client.set_registered_model_alias("digits", "champion", version)
    evaluate = EvaluateOperator(task_id="evaluate", context=second.to_dict(), arguments={"trained": model}, retries=2)
    with pytest.raises(AirflowSkipException, match=r"NOTHING NEW: the trained model is digits/1, the champion"):
        evaluate.execute(Task(evaluate).context | {"run_id": "r"})
    assert jobs(settings) == []
    assert "the run got no note: no stack was started here" in capsys.readouterr().out
    run = client.get_run(second.mlflow_run)
    assert (run.info.status, run.data.tags["airloom.outcome"]) == ("FINISHED", "nothing new")
    gate = GateOperator(task_id="gate", context=second.to_dict())
    decision = {"passed": False, "reasons": ["NOTHING NEW: x"], "evidence": "", "power": None, "nothing_new": True}
    with pytest.raises(AirflowSkipException, match="NOTHING NEW"):  # of several candidates the best one
        gate.finished(Task(gate).context | {"run_id": "r"}, decision)
    other = model | {"model_uri": "models:/m-other"}
    assert promote.nothing_new(settings, second, other) is None
    assert promote.nothing_new(settings, second, model | {"digests": {"model.onnx": "0"}}) is None
    client.set_model_version_tag("digits", version, "airloom.run", second.mlflow_run)
    assert promote.nothing_new(settings, second, model) is None  # this run made it, and goes on
