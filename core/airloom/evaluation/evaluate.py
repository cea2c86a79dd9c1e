"""Candidate and champion on the same frozen test split."""

import hashlib
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from airloom.contracts import Evaluation, RunContext, TrainedModel
from airloom.errors import GateError
from airloom.evaluation import figures, leaderboard, predictions
from airloom.evaluation.inference import Judged, judge
from airloom.evaluation.predictions import Kind, PredictedRows
from airloom.evaluation.slices import masks
from airloom.files import file_sha256
from airloom.registry import models as registered_models
from airloom.registry import signatures
from airloom.settings import Settings
from airloom.spec.pipeline import Pipeline
from airloom.tracking import runs

if TYPE_CHECKING:
    from mlflow import MlflowClient

FOLDER = "evaluation"
PREDICTIONS = f"{FOLDER}/predictions.parquet"
METRICS = f"{FOLDER}/metrics.json"
MOST_METRICS = 1000  # that MLflow takes in one request; a thousand classes have more
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
    raw, labels = test_rows(data)
    kind: Kind = "regression" if labels.dtype.kind == "f" else "classification"

    def ask(uri: str, digests: dict[str, str]) -> Judged:
        return judge(settings, uri, digests, raw, labels, kind, pipeline.resources.threads)

    judged = {name: ask(model.model_uri, model.digests) for name, model in models.items()}
    metric = pipeline.gate.against_champion.metric
    candidates = {name: PredictedRows(kind, labels, candidate.answers, None) for name, candidate in judged.items()}
    table = leaderboard.rank(candidates, metric)
    best = table[0].name
    client = runs.client(settings)
    with runs.connection_errors(settings):
        serving = registered_models.champion(client, pipeline.pipeline)
    champion, problem = None, ""
    if serving is not None:
        signatures.check(settings, serving)
        try:
            champion = ask(registered_models.uri_of(serving), registered_models.digests_of(serving))
        except GateError as error:
            problem = error.message
    parts = masks(data, ctx.snapshot, pipeline.evaluate.slices)
    rows = PredictedRows(kind, labels, judged[best].answers, champion.answers if champion else None, parts)
    with runs.connection_errors(settings):
        runs.log_input(client, ctx.mlflow_run, ctx.snapshot, "test")
        if len(models) > 1:
            leaderboard.keep(client, ctx, models, judged, table, metric)
        return _keep(client, ctx, rows, (judged[best], champion)).with_(
            champion_version=str(serving.version) if serving is not None else "",
            champion_problem=problem,
            split=digest(raw, labels),
            candidates=[models[row.name].model_uri for row in table],
        )


def test_rows(data: Any) -> tuple[Any, Array]:
    """The test split's raw inputs as the dataset's type gives them, and labels, int64 or float64 (n,).

    Raises:
        GateError: the dataset has no label of numbers or classes.
    """
    return plain_rows(*data.tensors("test"))


def plain_rows(raw: Any, labels: Any) -> tuple[Any, Array]:
    """Raw inputs and labels as arrays, labels int64 or float64 (n,).

    Raises:
        GateError: the labels are no numbers or classes.
    """
    if labels is None or not hasattr(labels, "numpy"):
        raise GateError("the test split has no labels of numbers or classes", "declare the label column of the dataset")
    labels = labels.numpy()
    return _plain(raw), labels.astype(np.float64 if labels.dtype.kind == "f" else np.int64)


def _plain(raw: Any) -> Any:
    """Tensors as arrays."""
    if isinstance(raw, dict):
        return {name: _plain(cells) for name, cells in raw.items()}
    return raw.numpy() if hasattr(raw, "numpy") else raw


def digest(raw: Any, labels: Array) -> str:
    """sha256 of what is asked and what is right: the identity of a test split, whatever version it came with."""
    sha256 = hashlib.sha256(np.ascontiguousarray(labels).tobytes())
    for name, cells in sorted(raw.items()) if isinstance(raw, dict) else [("", raw)]:
        sha256.update(name.encode())
        if isinstance(cells, np.ndarray) and cells.dtype.kind in "biufmM":
            sha256.update(np.ascontiguousarray(cells).tobytes())
        else:
            sha256.update(json.dumps([str(cell) for cell in cells]).encode())
    return sha256.hexdigest()


def _keep(
    client: "MlflowClient", ctx: RunContext, rows: PredictedRows, judged: tuple[Judged, Judged | None]
) -> Evaluation:
    """Predictions, metrics and pictures, in the parent run."""
    candidate, champion = judged
    metrics = rows.measured(rows.candidate) | candidate.cost
    champion_metrics = rows.measured(rows.champion) | champion.cost if rows.champion and champion else {}
    parts = {
        name: rows.measured(rows.candidate, mask) | {"rows": int(mask.sum())} for name, mask in rows.slices.items()
    }
    with tempfile.TemporaryDirectory(prefix="airloom-evaluation-") as name:
        folder = Path(name)
        sha256 = predictions.write(rows, folder / Path(PREDICTIONS).name)
        figures.draw(rows, candidate.scores, folder)
        values = {"candidate": metrics, "champion": champion_metrics, "slices": parts, "by_class": _by_class(rows)}
        (folder / Path(METRICS).name).write_text(json.dumps(values, indent=1))
        client.log_artifacts(ctx.mlflow_run, str(folder), FOLDER)
    measured = {f"test_{name}": value for name, value in metrics.items()}
    measured |= {f"champion_test_{name}": value for name, value in champion_metrics.items()}
    measured |= {f"test_slice.{name}.{metric}": v for name, part in parts.items() for metric, v in part.items()}
    every = list(measured.items())
    for at in range(0, len(every), MOST_METRICS):
        runs.log_metrics(client, ctx.mlflow_run, dict(every[at : at + MOST_METRICS]), 0)
    return Evaluation(metrics, "", champion_metrics, PREDICTIONS, len(rows), sha256, slices=parts)


def _by_class(rows: PredictedRows) -> dict[str, dict[str, float]]:
    """Rows, recall and precision of each class that occurs, of the candidate."""
    if rows.kind == "regression":
        return {}
    classes = {}
    for label in np.unique(rows.label):
        labelled, predicted = rows.label == label, rows.candidate.predicted == label
        hits = int((labelled & predicted).sum())
        classes[str(label)] = {"rows": int(labelled.sum()), "recall": hits / int(labelled.sum())}
        if predicted.any():
            classes[str(label)]["precision"] = hits / int(predicted.sum())
    return classes


def read_predictions(client: "MlflowClient", ctx: RunContext, evaluation: Evaluation) -> PredictedRows:
    """The kept predictions; the file must be the one that this evaluation wrote.

    Raises:
        GateError: it is another file, or not whole.
    """
    with tempfile.TemporaryDirectory(prefix="airloom-gate-") as folder:
        path = Path(client.download_artifacts(ctx.mlflow_run, evaluation.predictions, folder))
        sha256 = file_sha256(path)
        if evaluation.sha256 and sha256 != evaluation.sha256:
            raise GateError(f"the file's sha256 is {sha256[:12]}…, the evaluation wrote {evaluation.sha256[:12]}…")
        return predictions.read(
            path, with_champion=bool(evaluation.champion_version) and not evaluation.champion_problem
        )
