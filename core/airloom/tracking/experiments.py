"""Pipeline runs side by side, and the candidates of one run."""

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airloom.contracts import Record
from airloom.errors import RegistryError
from airloom.names import ModelName, RunKey, is_mlflow_run, near, registered_model, shown_model
from airloom.settings import Settings
from airloom.tracking import runs as mlflow_runs
from airloom.tracking.tags import Tag

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

LEADERBOARD = "evaluation/leaderboard.json"
NEWEST_FIRST = ["attributes.start_time DESC"]
Value = str | float | None


@dataclass(frozen=True)
class PipelineRun(Record):
    """One run of a pipeline.

    Attributes:
        key: of the pipeline run; empty where somebody made the run by hand.
        run: id of its MLflow run.
        dataset: the version that it read, `digits@v3`.
        gate: passed, refused or overridden; empty before the gate.
        outcome: how the run ended.
        metrics: of the candidate on the test split.
        champion: the champion's on the same rows.
    """

    key: str
    run: str
    dataset: str
    gate: str
    outcome: str
    metrics: dict[str, float]
    champion: dict[str, float]


@dataclass(frozen=True)
class LeaderboardPlace(Record):
    """A candidate on the leaderboard, as `airloom.evaluation.leaderboard` writes it."""

    name: str
    value: float
    interval: tuple[float, float]
    behind: float
    behind_interval: tuple[float, float]
    run: str
    cost: dict[str, float]


@dataclass(frozen=True)
class Leaderboard(Record):
    """The candidates of a run by the gate's metric, the best one first."""

    metric: str
    places: list[LeaderboardPlace]


@dataclass(frozen=True)
class FinalTraining(Record):
    """The final training of one candidate, of this run or taken from an earlier one."""

    run: str
    candidate: str
    function: str
    parameters: dict[str, str]
    metrics: dict[str, float]


@dataclass(frozen=True)
class PipelineRunDetails(PipelineRun):
    """A run with its candidates; without a leaderboard where it had one candidate only."""

    leaderboard: Leaderboard | None = None
    trainings: list[FinalTraining] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain types; an empty leaderboard where there is none."""
        return super().to_dict() | {"leaderboard": self.leaderboard.to_dict() if self.leaderboard else {}}


@dataclass(frozen=True)
class PipelineRuns(Record):
    """All runs of a pipeline, newest first."""

    pipeline: str
    runs: list[PipelineRun]


@dataclass(frozen=True)
class RunComparison:
    """What differs between runs: by name, the value of each run; None where it has none."""

    targets: list[str]
    differences: dict[str, dict[str, Value]]

    def to_dict(self) -> dict[str, dict[str, Value]]:
        """By name and run."""
        return self.differences


def show(settings: Settings, target: str) -> PipelineRuns | PipelineRunDetails:
    """A pipeline's runs, newest first, or one run with its leaderboard.

    Args:
        settings: of this installation.
        target: a pipeline's name, an MLflow run's id, or a pipeline run's key: `digits/manual__…`; of another
            installation `production.digits`, `production:digits/manual__…`.

    Raises:
        RegistryError: there is nothing of that name.
    """
    client = mlflow_runs.reader(settings)
    with mlflow_runs.connection_errors(settings):
        asked = None if is_mlflow_run(target) else ModelName.match(target)
        if asked and asked.name == target:
            found = _pipeline_runs(settings, client, target)
            return PipelineRuns(target, [PipelineRun(**_facts(run)) for run in found])
        run = find(settings, client, target)
        return PipelineRunDetails(
            **_facts(run), leaderboard=_leaderboard(client, run), trainings=_trainings(client, run)
        )


def compare(settings: Settings, targets: list[str]) -> RunComparison:
    """What differs between runs; what is equal in all is left out.

    Raises:
        RegistryError: one of the targets names no run.
    """
    client = mlflow_runs.reader(settings)
    with mlflow_runs.connection_errors(settings):
        columns = {target: _column(client, find(settings, client, target)) for target in targets}
    names = sorted({name for column in columns.values() for name in column})
    table = {name: {target: column.get(name) for target, column in columns.items()} for name in names}
    differing = {name: row for name, row in table.items() if len({json.dumps(value) for value in row.values()}) > 1}
    return RunComparison(targets, differing)


def find(settings: Settings, client: "MlflowClient", target: str) -> "Run":
    """A pipeline run by its MLflow id or its key.

    Args:
        settings: of this installation, whose run a key without an installation names.
        client: of MLflow.
        target: the id or the key.

    Raises:
        RegistryError: there is none.
    """
    from mlflow.exceptions import MlflowException

    hint = "`airloom experiment show PIPELINE` lists its runs"
    if is_mlflow_run(target):
        try:
            return client.get_run(target)
        except MlflowException:
            raise RegistryError(f"there is no run {target}", hint) from None
    key = RunKey.match(settings.kept(target))
    if key is None:
        raise RegistryError(f"{target[:80]!r} names no run", hint)
    pipeline = registered_model(key.pipeline or key.dag, key.installation)
    run = mlflow_runs.find_run(client, _experiment(settings, client, pipeline), str(key))
    if run is None or Tag.PARENT in run.data.tags:
        raise RegistryError(f"there is no run {target[:80]}", hint)
    return run


def _experiment(settings: Settings, client: "MlflowClient", registered: str) -> str:
    experiment = client.get_experiment_by_name(f"{mlflow_runs.EXPERIMENTS}{registered}")
    if experiment is None:
        pipeline = shown_model(registered, settings.installation)
        guess = near(pipeline, _pipelines(settings, client))
        raise RegistryError(f"pipeline {pipeline} has no runs", f"{guess}`airloom run {pipeline}` makes one")
    return str(experiment.experiment_id)


def _pipelines(settings: Settings, client: "MlflowClient") -> list[str]:
    """The pipelines that have runs, as they are called here."""
    prefix = mlflow_runs.EXPERIMENTS
    found = mlflow_runs.pages(client.search_experiments, filter_string=f"name LIKE '{prefix}%'")
    return [shown_model(experiment.name.removeprefix(prefix), settings.installation) for experiment in found]


def _pipeline_runs(settings: Settings, client: "MlflowClient", pipeline: str) -> "Iterator[Run]":
    """The parent runs of a pipeline, newest first; a run has many children, so that MLflow has to leave them out."""
    query = f"tags.`{Tag.PARENT}` IS NULL"
    experiment = _experiment(settings, client, settings.registered(pipeline))
    return mlflow_runs.pages(client.search_runs, [experiment], query, order_by=NEWEST_FIRST)


def _facts(run: "Run") -> dict[str, Any]:
    """The arguments of a `PipelineRun`."""
    tags, metrics = run.data.tags, run.data.metrics
    return {
        "key": tags.get(Tag.KEY, ""),
        "run": run.info.run_id,
        "dataset": tags.get(Tag.DATASET, ""),
        "gate": tags.get(Tag.GATE, ""),
        "outcome": tags.get(Tag.OUTCOME, ""),
        "metrics": {name.removeprefix("test_"): v for name, v in metrics.items() if name.startswith("test_")},
        "champion": {n.removeprefix("champion_test_"): v for n, v in metrics.items() if n.startswith("champion_test_")},
    }


def _leaderboard(client: "MlflowClient", run: "Run") -> Leaderboard | None:
    """None where the run had one candidate only."""
    if not any(file.path == LEADERBOARD for file in client.list_artifacts(run.info.run_id, "evaluation")):
        return None
    with tempfile.TemporaryDirectory(prefix="airloom-experiment-") as folder:
        values = json.loads(Path(client.download_artifacts(run.info.run_id, LEADERBOARD, folder)).read_text())
    return Leaderboard(values["metric"], [LeaderboardPlace.from_dict(place) for place in values["places"]])


def _trainings(client: "MlflowClient", run: "Run") -> list[FinalTraining]:
    query = f"tags.`{Tag.PARENT}` = '{run.info.run_id}' and tags.`{Tag.KIND}` = 'train'"
    trained = list(mlflow_runs.pages(client.search_runs, [run.info.experiment_id], query))
    trained += [client.get_run(run_id) for run_id in mlflow_runs.reused(run, "train").values()]
    return [
        FinalTraining(
            run=training.info.run_id,
            candidate=training.data.tags.get(Tag.CANDIDATE, ""),
            function=training.data.tags.get(Tag.CODE_FUNCTION, ""),
            parameters=dict(training.data.params),
            metrics=dict(training.data.metrics),
        )
        for training in trained
    ]


def _column(client: "MlflowClient", run: "Run") -> dict[str, Value]:
    """What `compare` shows of a run, by name."""
    facts = PipelineRun(**_facts(run))
    column: dict[str, Value] = {"dataset": facts.dataset, "gate": facts.gate, "outcome": facts.outcome}
    column |= {f"test {name}": value for name, value in facts.metrics.items()}
    for training in _trainings(client, run):
        label = f"{training.candidate} " if training.candidate else ""
        column |= {f"{label}{name}": value for name, value in training.parameters.items()}
    return column


def render(shown: PipelineRuns | PipelineRunDetails) -> str:
    """For people."""
    if isinstance(shown, PipelineRuns):
        return "\n".join(_line(run) for run in shown.runs) or "no runs"
    lines = [_line(shown)]
    if shown.leaderboard:
        metric = shown.leaderboard.metric
        lines += [_place(number, metric, place) for number, place in enumerate(shown.leaderboard.places, 1)]
    for training in shown.trainings:
        parameters = ", ".join(f"{name}={value}" for name, value in sorted(training.parameters.items()))
        lines.append(f"  {training.candidate or 'training'}: {training.function} {parameters}")
    return "\n".join(lines)


def render_comparison(comparison: RunComparison) -> str:
    """A line for each name, a column for each run."""
    if not comparison.differences:
        return "nothing differs"
    lines = [f"{'':32} {' '.join(f'{target[-24:]:>24}' for target in comparison.targets)}"]
    for name, row in comparison.differences.items():
        lines.append(f"{name[:32]:32} {' '.join(f'{_text(row[target]):>24}' for target in comparison.targets)}")
    return "\n".join(lines)


def _place(number: int, metric: str, place: LeaderboardPlace) -> str:
    low, high = place.interval
    left, right = place.behind_interval
    return (
        f"{number:3}. {place.name:16} {metric} {place.value:.4f} ({low:.4f} to {high:.4f}), "
        f"behind {place.behind:.4f} ({left:.4f} to {right:.4f}), {place.cost['latency_ms']:.3f} ms"
    )


def _line(run: PipelineRun) -> str:
    shown = [name for name in ("accuracy", "log_loss", "mae") if name in run.metrics]
    metrics = " ".join(f"{name} {run.metrics[name]:.4f}" for name in shown)
    return f"{run.key:56} {run.dataset:12} {run.gate:10} {metrics}".rstrip()


def _text(value: Value) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)[-24:]
