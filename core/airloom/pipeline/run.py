"""`airloom run`: the same steps in plain Python, without Airflow."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from airloom.contracts import Decision, Evaluation, RunContext
from airloom.errors import ConfigError
from airloom.pipeline import steps
from airloom.settings import Settings
from airloom.spec.load import find_pipelines, load_pipeline
from airloom.tracking.tags import Tag
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
    cache: bool = True,
) -> dict[str, Any]:
    """Run every step; a refused candidate ends the run before `register`. Returns what each step returned.

    Giving an earlier run's `key` continues that run.
    """
    pipeline = load_pipeline(file)
    key = key or f"{pipeline.pipeline}/local__{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}"
    say(f"resolve: {key}")
    context = steps.resolve(settings, file, key, version, parameters, cache=cache)
    snapshot = context.snapshot
    say(f"resolve: {snapshot.dataset}@v{snapshot.version}, rows {snapshot.rows}, MLflow run {context.mlflow_run}")

    def job(name: str, step: str, **arguments: Any) -> dict[str, Any]:
        # A step that already succeeded under this key gives its result again; a failed one makes its next attempt.
        return steps.run_job(settings, context, step, arguments, name=name, say=lambda s: say(f"{name}: {s}"))

    made = {name: _tune_and_train(settings, one, say) for name, one in steps.contexts(context, pipeline).items()}
    first = next(iter(made.values()))
    trained = {name: one["model"] for name, one in made.items()} if pipeline.candidates else first["model"]
    evaluated = job("evaluate", "airloom.evaluation.step:evaluate", trained=trained)
    decided = job("gate", "airloom.evaluation.step:gate", evaluation=evaluated)
    result = {"context": context.to_dict(), **first, "evaluation": evaluated, "gate": decided}
    result |= {"candidates": made} if pipeline.candidates else {}
    decision = Decision.from_dict(decided)
    for reason in decision.reasons:
        say(f"gate: {reason}")
    if decision.passed:
        evaluation = Evaluation.from_dict(evaluated)
        model = steps.chosen(trained, evaluation)
        registered = steps.register(settings, context, model, evaluation, decision)
        say(f"register: {registered.model} version {registered.version}")
        result["registered"] = registered.to_dict()
        result["deployment"] = steps.deploy(settings, registered, say)
    finish(settings, context, decision.passed)
    return result


def _tune_and_train(settings: Settings, context: RunContext, say: steps.Say) -> dict[str, Any]:
    """The study and the final training of one candidate: `tune`, `study` and `model`."""
    label = f"{context.key.rpartition('/')[2]} " if "#" in context.pipeline_file else ""

    def tell(line: str) -> None:
        say(f"{label}{line}")

    verdict = steps.cached(settings, context, "tune", {"worker": 0}, f"{context.key}/tune-0")
    for line in verdict.lines if verdict else []:
        tell(f"tune: {line}")
    hit = verdict is not None and verdict.hit
    tuned = [] if hit else run_workers(settings, load_pipeline(Path(context.pipeline_file)), context, tell)
    step = "airloom.pipeline.steps:train"
    trained = steps.run_job(settings, context, step, {}, name="train", say=lambda line: tell(f"train: {line}"))
    return {"tune": tuned, **trained}


def finish(settings: Settings, context: RunContext, passed: bool) -> None:
    """End the parent MLflow run. A refused candidate is a finished run too: the pipeline did its work."""
    from airloom.tracking import runs

    client = runs.client(settings)
    client.set_tag(context.mlflow_run, Tag.OUTCOME, "deployed" if passed else "refused")
    client.set_terminated(context.mlflow_run, "FINISHED")
