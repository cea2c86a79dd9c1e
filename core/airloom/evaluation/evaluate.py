"""Candidate and champion on the same frozen test split."""

import hashlib
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from airloom import tasks
from airloom.contracts import Evaluation, RunContext, TrainedModel
from airloom.datasets import versions
from airloom.datasets.past_classes import past_classes
from airloom.errors import DataError, GateError
from airloom.evaluation import by_class, figures, flat_columns, leaderboard, own, predictions
from airloom.evaluation.inference import Judged, Looks, judge
from airloom.evaluation.own import OwnMetric
from airloom.evaluation.predictions import Labels, PredictedRows, by_name
from airloom.evaluation.slices import masks
from airloom.files import file_sha256
from airloom.names import loggable
from airloom.registry import models as registered_models
from airloom.registry import signatures
from airloom.settings import Settings
from airloom.spec.pipeline import Pipeline
from airloom.tasks import Task
from airloom.tasks.metrics import shown
from airloom.tracking import inputs, runs
from airloom.tracking.tags import Tag

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from airloom.datasets.reading.split_data import SplitData

FOLDER = "evaluation"
PREDICTIONS = f"{FOLDER}/predictions.parquet"
METRICS = f"{FOLDER}/metrics.json"
MOST_METRICS = 1000  # that MLflow takes in one request
Array = np.ndarray[Any, Any]


def evaluate(settings: Settings, pipeline: Pipeline, ctx: RunContext, trained: TrainedModel) -> Evaluation:
    """Evaluate one candidate; see `evaluate_all`, also for what it raises.

    Args:
        settings: of this installation.
        pipeline: names the slices and the gate's metric.
        ctx: of the pipeline run.
        trained: the candidate.
    """
    return evaluate_all(settings, pipeline, ctx, {"": trained})


def evaluate_all(
    settings: Settings, pipeline: Pipeline, ctx: RunContext, models: dict[str, TrainedModel]
) -> Evaluation:
    """Run all through ONNX Runtime on the test split; keep each row's answers in the parent MLflow run.

    Of several candidates the best by the gate's metric goes on; the leaderboard has all of them. A champion that cannot
    answer these rows (its data had another shape) is no error: the gate says so, and refuses.

    Args:
        settings: of this installation.
        pipeline: names the slices and the gate's metric.
        ctx: of the pipeline run.
        models: the candidates by name; "" where there is only one.

    Raises:
        CorruptFile: a model file differs from its recorded digest.
        GateError: a candidate does not answer the rows.
        RegistryError: MLflow does not answer.
        SignatureRefused: no key that is trusted here signed the champion as it is.
    """
    from airloom.datasets.snapshots.snapshot import open_snapshot

    data = open_snapshot(settings, ctx.snapshot)
    task, functions = tasks_of(settings, pipeline)
    test, rule = rows_of(data.split("test"), task=task), pipeline.gate and pipeline.gate.against_champion
    looks = Looks(task, functions, flat_columns.read(data, "test") if functions else {})
    more: dict[str, Any] = {"also": also(pipeline, task or test.task), "own": functions}
    if rule and rule.group:
        more["groups"] = flat_columns.groups(data, "test", rule.group)

    def ask(uri: str, digests: dict[str, str], version: str) -> Judged:
        def past() -> list[str]:
            return _past_classes(settings, version) if test.is_text else []

        answered = judge(settings, uri, digests, test.raw, test.labels, pipeline.resources.threads, past, looks)
        return answered.keeping(more["also"])

    judged = {name: ask(m.model_uri, m.digests, ctx.snapshot.version_name) for name, m in models.items()}
    order, table = list(models), list[leaderboard.RankedCandidate]()
    if pipeline.gate or len(models) > 1:
        metric = pipeline.policy.against_champion.metric
        candidates = {
            name: by_name(test.labels, candidate.answers, None, task=task, **more) for name, candidate in judged.items()
        }
        table = leaderboard.rank(candidates, metric)
        order = [place.name for place in table]
    best = order[0]
    client = runs.client(settings)
    with runs.connection_errors(settings):
        serving = registered_models.champion(client, ctx.model)
        itself = registered_models.champion_itself(client, ctx, models[best].model_uri, models[best].digests)
    champion, problem = None, ""
    if serving is not None:
        signatures.check(settings, serving)
    if serving is not None and not itself:  # nothing is compared with itself; the gate says so
        try:
            digests, trained_on = registered_models.digests_of(serving), serving.tags.get(Tag.DATASET, "")
            champion = ask(registered_models.uri_of(serving), digests, trained_on)
            problem = (task or test.task).incomparable(judged[best].answers, champion.answers)
            champion = None if problem else champion
        except GateError as error:
            problem = error.message
    parts = masks(data, ctx.snapshot, pipeline.evaluate.slices)
    rows = by_name(test.labels, judged[best].answers, champion.answers if champion else None, parts, task, **more)
    with runs.connection_errors(settings):
        inputs.log_input(client, settings, ctx.mlflow_run, ctx.snapshot, "test")
        if len(models) > 1:
            leaderboard.keep(client, ctx, models, judged, table, pipeline.policy.against_champion.metric)
        named = pipeline.gate.named_metrics if pipeline.gate else set()
        return _keep(client, ctx, rows, (judged[best], champion), named).with_(
            champion_version=str(serving.version) if serving is not None else "",
            champion_problem=problem,
            split=test.digest,
            candidates=[models[name].model_uri for name in order],
        )


@dataclass(frozen=True)
class LabelledRows:
    """Rows that models are asked.

    Attributes:
        raw: inputs as the dataset's type gives them, arrays instead of tensors.
        labels: names of classes, or float64 (n,).
        digest: sha256 of what is asked and what is right: the identity of a test split, whatever version it came with.
        is_text: whether the labels are classes stored as text.
        task: what the labels are for, where the pipeline file does not say it.
    """

    raw: Any
    labels: Labels
    digest: str
    is_text: bool
    task: Task


def tasks_of(settings: Settings, pipeline: Pipeline) -> tuple[Task | None, dict[str, OwnMetric]]:
    """The task that the pipeline file says, and its metrics of one's own.

    Raises:
        ConfigError: a class or a function is not there.
    """
    return tasks.find(pipeline.task, settings.project), own.load(settings.project, pipeline.evaluate.own)


def also(pipeline: Pipeline, task: Task) -> tuple[str, ...]:
    """The metrics of all rows that are measured: those of a task that the file says, and those that the gate names."""
    named = {*pipeline.gate.named_metrics, pipeline.gate.against_champion.metric} if pipeline.gate else set[str]()
    wanted = [*(task.wholes if pipeline.task else ()), *sorted(named)]
    return tuple(name for name in dict.fromkeys(wanted) if task.whole(name) or name in pipeline.evaluate.own)


def rows_of(split: "SplitData", positions: Array | None = None, task: Task | None = None) -> LabelledRows:
    """Some rows of a split; None: all.

    Args:
        split: of a snapshot.
        positions: of the rows.
        task: what the labels are for; None: it is guessed.

    Raises:
        GateError: the labels are no numbers or classes, or not those of the task.
    """
    columns = split.columns(np.arange(len(split)) if positions is None else positions)
    stored = columns[split.layout.label] if split.layout.label else None
    whole = isinstance(stored, np.ndarray) and stored.dtype.kind in "biuf"
    of = task or tasks.guessed(stored)
    if task is None and (stored is None or (of.name == "regression" and not whole)):
        raise GateError("the test split has no labels of numbers or classes", "declare the label column of the dataset")
    labels, raw = of.labels(stored, len(columns[split.names[0]])), split.arrays(columns)
    if isinstance(stored, np.ndarray) and stored.ndim == 1 and whole:
        stored = stored.astype(np.int64 if of.name == "classification" else np.float64)
    text = of.name == "classification" and not whole
    return LabelledRows(raw, labels, digest(raw, stored), text, of)


def _past_classes(settings: Settings, version: str) -> list[str]:
    """How a model of an earlier release numbered the classes of the version that it was trained on.

    Raises:
        GateError: the version is gone.
    """
    try:
        return past_classes(settings, versions.find(settings, version))
    except DataError as error:
        message = f"nothing says which classes a model of an earlier release has: {error.message}"
        raise GateError(message, "deploy a model that was trained by this release") from None


def digest(raw: Any, labels: Array | list[Any] | None) -> str:
    """sha256 of inputs and labels."""
    if isinstance(labels, np.ndarray) and labels.dtype.kind in "biuf":
        right = np.ascontiguousarray(labels).tobytes()
    else:
        cells = labels.tolist() if isinstance(labels, np.ndarray) else labels
        right = b"" if cells is None else json.dumps(cells, default=_plain).encode()
    sha256 = hashlib.sha256(right)
    for name, cells in sorted(raw.items()) if isinstance(raw, dict) else [("", raw)]:
        sha256.update(name.encode())
        if isinstance(cells, np.ndarray) and cells.dtype.kind in "biufmM":
            sha256.update(np.ascontiguousarray(cells).tobytes())
        elif not name and len(cells) and isinstance(cells[0], bytes):
            for cell in cells:
                sha256.update(len(cell).to_bytes(8, "little") + cell)
        else:
            sha256.update(json.dumps([str(cell) for cell in cells]).encode())
    return sha256.hexdigest()


def _plain(cell: Any) -> Any:
    """A cell of labels that JSON has no form of: an array, or a file."""
    return hashlib.sha256(cell).hexdigest() if isinstance(cell, bytes) else cell.tolist()


def _keep(
    client: "MlflowClient",
    ctx: RunContext,
    rows: PredictedRows,
    judged: tuple[Judged, Judged | None],
    named: set[str],
) -> Evaluation:
    """Predictions, metrics and pictures, in the parent run. `named` are metrics that a rule of the gate asks for."""
    candidate, champion = judged
    metrics = shown(rows.measured(rows.candidate), named) | candidate.cost
    theirs = rows.measured(rows.champion) if rows.champion else {}
    champion_metrics = shown(theirs, metrics.keys()) | champion.cost if champion else {}
    parts = {
        name: shown(rows.measured(rows.candidate, mask), named) | {"rows": int(mask.sum())}
        for name, mask in rows.slices.items()
    }
    with tempfile.TemporaryDirectory(prefix="airloom-evaluation-") as name:
        folder = Path(name)
        sha256 = predictions.write(rows, folder / Path(PREDICTIONS).name)
        figures.draw(rows, candidate.scores, candidate.answers.outputs, folder)
        table = by_class.measure(rows)
        by_class.write(table, folder / by_class.FILE)
        values = {"candidate": metrics, "champion": champion_metrics, "slices": parts, "by_class": table}
        (folder / Path(METRICS).name).write_text(json.dumps(values, indent=1))
        client.log_artifacts(ctx.mlflow_run, str(folder), FOLDER)
    measured = {f"test_{name}": value for name, value in metrics.items()}
    measured |= {f"champion_test_{name}": value for name, value in champion_metrics.items()}
    measured |= {f"test_slice.{name}.{metric}": v for name, part in parts.items() for metric, v in part.items()}
    every = [(loggable(name), value) for name, value in measured.items()]
    for at in range(0, len(every), MOST_METRICS):
        runs.log_metrics(client, ctx.mlflow_run, dict(every[at : at + MOST_METRICS]), 0)
    return Evaluation(metrics, "", champion_metrics, PREDICTIONS, len(rows), sha256, slices=parts)


def read_predictions(
    client: "MlflowClient",
    ctx: RunContext,
    evaluation: Evaluation,
    task: Task | None = None,
    own_metrics: dict[str, OwnMetric] | None = None,
) -> PredictedRows:
    """The kept predictions; the file must be the one that this evaluation wrote.

    Args:
        client: of MLflow.
        ctx: of the pipeline run.
        evaluation: what it returned.
        task: what the answers are for, where the pipeline file says it.
        own_metrics: metrics of one's own.

    Raises:
        GateError: it is another file, or not whole.
    """
    with tempfile.TemporaryDirectory(prefix="airloom-gate-") as folder:
        path = Path(client.download_artifacts(ctx.mlflow_run, evaluation.predictions, folder))
        sha256 = file_sha256(path)
        if evaluation.sha256 and sha256 != evaluation.sha256:
            raise GateError(f"the file's sha256 is {sha256[:12]}…, the evaluation wrote {evaluation.sha256[:12]}…")
        compared = bool(evaluation.champion_version) and not evaluation.champion_problem
        return predictions.read(path, with_champion=compared, task=task, own=own_metrics)
