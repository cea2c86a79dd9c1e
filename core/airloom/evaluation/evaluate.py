"""Candidate and champion on the same frozen test split."""

import io
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airloom.contracts import Evaluation, RunContext, TrainedModel
from airloom.datasets.snapshot import load_split
from airloom.evaluation.metrics import classification, confusion
from airloom.metadata import artifacts, registry, tracking
from airloom.pipeline.spec import Pipeline
from airloom.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    from mlflow import MlflowClient

PREDICTIONS = "evaluation/predictions.parquet"


def evaluate(settings: Settings, pipeline: Pipeline, ctx: RunContext, trained: TrainedModel) -> Evaluation:
    """Run both through ONNX Runtime on the test split; keep each row's answers in the parent MLflow run.

    Raises:
        CorruptFile: a model file differs from its recorded digest.
        RegistryError: MLflow does not answer.
    """
    images, labels = load_split(settings, ctx.snapshot, "test")
    client = tracking.client(settings)
    with tracking.reachable(settings):
        champion = registry.champion(client, pipeline.pipeline)
        scores = _scores(settings, trained.model_uri, trained.digests, images, pipeline.resources.threads)
        metrics = classification(scores, labels)
        champion_scores, champion_metrics = None, dict[str, float]()
        if champion is not None:
            digests, threads = registry.digests_of(champion), pipeline.resources.threads
            champion_scores = _scores(settings, registry.uri_of(champion), digests, images, threads)
            champion_metrics = classification(champion_scores, labels)
        _keep(client, ctx, labels, scores, champion_scores)
        measured = {f"test_{name}": value for name, value in metrics.items()}
        measured |= {f"champion_test_{name}": value for name, value in champion_metrics.items()}
        tracking.log_metrics(client, ctx.mlflow_run, measured, 0)
    version = str(champion.version) if champion is not None else ""
    return Evaluation(metrics, version, champion_metrics, PREDICTIONS, len(labels))


def _scores(
    settings: Settings, uri: str, digests: dict[str, str], images: "np.ndarray[Any, Any]", threads: int
) -> "np.ndarray[Any, Any]":
    """Logits, shape (n, classes), of a model whose files were checked first."""
    import numpy as np
    import onnxruntime

    folder = settings.home / "cache" / "models" / uri.rpartition("/")[2]
    path = artifacts.fetch_model(settings, uri, digests, folder) / artifacts.ONNX
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    parts = [session.run(None, {name: images[at : at + 1024]})[0] for at in range(0, len(images), 1024)]
    return np.concatenate(parts)


def _keep(client: "MlflowClient", ctx: RunContext, labels: Any, scores: Any, champion: Any) -> None:
    """The per-example predictions as Parquet, and the confusion matrix as a picture."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    predicted = scores.argmax(axis=1)
    other = champion.argmax(axis=1) if champion is not None else pa.nulls(len(labels), pa.int64())
    table = pa.table({"row": np.arange(len(labels)), "label": labels, "candidate": predicted, "champion": other})
    with tempfile.TemporaryDirectory(prefix="airloom-evaluation-") as folder:
        file = Path(folder) / Path(PREDICTIONS).name
        pq.write_table(table, file)
        client.log_artifact(ctx.mlflow_run, str(file), "evaluation")
        picture = Path(folder) / "confusion.png"
        picture.write_bytes(_picture(confusion(predicted, labels, scores.shape[1])))
        client.log_artifact(ctx.mlflow_run, str(picture), "evaluation")


def _picture(counts: Any) -> bytes:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 4.5), layout="tight")
    axes = figure.subplots()
    axes.imshow(counts, cmap="Blues")
    for row, column in ((r, c) for r in range(len(counts)) for c in range(len(counts)) if counts[r, c]):
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=7)
    axes.set(xlabel="predicted", ylabel="label", xticks=range(len(counts)), yticks=range(len(counts)))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def read_predictions(client: "MlflowClient", ctx: RunContext, path: str) -> Any:
    """The kept predictions as an Arrow table."""
    import pyarrow.parquet as pq

    with tempfile.TemporaryDirectory(prefix="airloom-gate-") as folder:
        return pq.read_table(client.download_artifacts(ctx.mlflow_run, path, folder), memory_map=False)


def log_json(client: "MlflowClient", run: str, values: dict[str, Any], path: str) -> None:
    """A JSON artifact that people can read."""
    client.log_text(run, json.dumps(values, indent=1), path)
