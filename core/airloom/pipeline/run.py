"""`airloom run`: the same steps in plain Python, without Airflow."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from airloom.contracts import Decision, Evaluation, RunContext, TrainedModel
from airloom.errors import ConfigError
from airloom.pipeline import steps
from airloom.pipeline.load import find_pipelines, load_pipeline
from airloom.settings import Settings
from airloom.tuning.local import run_workers


def find_file(settings: Settings, name: str) -> Path:
    """A pipeline file by path, or by the name of a pipeline of this project."""
    given = Path(name)
    if given.suffix in {".yaml", ".yml"} or given.exists():
        return given.resolve()
    files = {path.stem: path for path in find_pipelines(settings.project)}
    if name not in files:
        raise ConfigError(f"there is no pipeline {name!r}", f"known here: {', '.join(files) or 'none'}; or give a path")
    return files[name].resolve()


def run_pipeline(
    settings: Settings,
    file: Path,
    say: steps.Say,
    *,
    version: int | None = None,
    parameters: dict[str, Any] | None = None,
    key: str = "",
) -> dict[str, Any]:
    """Run every step; a refused candidate ends the run before `register`. Returns what each step returned.

    Giving an earlier run's `key` continues that run.
    """
    pipeline = load_pipeline(file)
    key = key or f"{pipeline.pipeline}/local__{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}"
    say(f"resolve: {key}")
    context = steps.resolve(settings, file, key, version, parameters)
    snapshot = context.snapshot
    say(f"resolve: {snapshot.dataset}@v{snapshot.version}, rows {snapshot.rows}, MLflow run {context.mlflow_run}")

    def job(name: str, step: str, **arguments: Any) -> dict[str, Any]:
        # A step that already succeeded under this key gives its result again; a failed one makes its next attempt.
        return steps.run_job(settings, context, step, arguments, name=name, say=lambda s: say(f"{name}: {s}"))

    tuned = run_workers(settings, pipeline, context, say)
    trained = job("train", "airloom.pipeline.steps:train")
    evaluated = job("evaluate", "airloom.evaluation.step:evaluate", trained=trained["model"])
    decided = job("gate", "airloom.evaluation.step:gate", evaluation=evaluated)
    result = {"context": context.to_dict(), "tune": tuned, **trained, "evaluation": evaluated, "gate": decided}
    decision = Decision.from_dict(decided)
    for reason in decision.reasons:
        say(f"gate: {reason}")
    if decision.passed:
        model, evaluation = TrainedModel.from_dict(trained["model"]), Evaluation.from_dict(evaluated)
        registered = steps.register(settings, context, model, evaluation, decision)
        say(f"register: {registered.model} version {registered.version}")
        result["registered"] = registered.to_dict()
        result["deployment"] = steps.deploy(settings, registered, say)
    finish(settings, context, decision.passed)
    return result


def finish(settings: Settings, context: RunContext, passed: bool) -> None:
    """End the parent MLflow run. A refused candidate is a finished run too: the pipeline did its work."""
    from airloom.metadata import tracking

    client = tracking.client(settings)
    client.set_tag(context.mlflow_run, "airloom.outcome", "deployed" if passed else "refused")
    client.set_terminated(context.mlflow_run, "FINISHED")
