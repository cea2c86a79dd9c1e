"""Put a trained model into MLflow: torch.export program, ONNX and golden answers, without any pickle."""

import json
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airloom.agreement import RTOL
from airloom.contracts import TrainedModel
from airloom.files import file_sha256
from airloom.processing import FILE, Processing, parse
from airloom.tracking.tags import Tag
from airloom.training.export.onnx import adopt, export, load_program

if TYPE_CHECKING:
    from mlflow.entities import Run
    from torch import Tensor
    from torch.nn import Module

LONGEST_TAG = 8000  # characters that MLflow keeps of a run's tag


def store_model(
    run_id: str,
    model: "Module | Path",
    example: "Tensor",
    parameters: dict[str, Any],
    metrics: dict[str, float],
    processing: Processing | None = None,
    rtol: float = RTOL,
) -> TrainedModel:
    """Log the model under the run, tag the run with what was logged, and end the run as FINISHED.

    Args:
        run_id: of the MLflow run.
        model: a module, or a file: ONNX, or a program saved by `torch.export`.
        example: at least 2 rows; with one the program would accept batches of 1 only.
        parameters: what it was trained with.
        metrics: the last ones.
        processing: what goes before and after the graph.
        rtol: by how much of their size answers may differ.

    Raises:
        JobFailed: the ONNX export failed or its answers differ from torch's.
    """
    import mlflow

    with tempfile.TemporaryDirectory(prefix="airloom-model-") as folder, mlflow.start_run(run_id=run_id):
        _forget_others(run_id)
        processing = processing or Processing()
        extra = _declared(processing, Path(folder))
        if isinstance(model, Path) and model.suffix == ".onnx":
            uri = _log_onnx(model, example, Path(folder), extra, rtol)
        else:
            uri = _log(model, example, Path(folder), extra, processing, rtol)
        digests = _digests(uri, Path(folder) / "check")
        trained = TrainedModel(run_id, uri, digests, metrics, parameters)
        # Last before the run ends: a FINISHED run with these tags is a complete one.
        tags = {Tag.MODEL_URI: uri, Tag.DIGESTS: json.dumps(digests), Tag.METRICS: json.dumps(metrics)}
        if len(tags[Tag.METRICS]) > LONGEST_TAG:
            del tags[Tag.METRICS]  # MLflow would cut it, and half a JSON is none; the run has its metrics anyway
        mlflow.MlflowClient().log_batch(run_id, tags=[mlflow.entities.RunTag(*item) for item in tags.items()])
    return trained


def stored_model(run: "Run") -> TrainedModel | None:
    """The model of a run that finished completely, else None."""
    tags = run.data.tags
    if run.info.status != "FINISHED" or Tag.MODEL_URI not in tags:
        return None
    digests, parameters = (json.loads(tags[name]) for name in (Tag.DIGESTS, Tag.PARAMETERS))
    metrics = json.loads(tags[Tag.METRICS]) if Tag.METRICS in tags else dict(run.data.metrics)
    return TrainedModel(run.info.run_id, tags[Tag.MODEL_URI], digests, metrics, parameters)


def _forget_others(run_id: str) -> None:
    """A process that was killed before it tagged the run left a model that nobody will ask for."""
    import mlflow

    api = mlflow.MlflowClient()
    experiment = api.get_run(run_id).info.experiment_id
    for left in api.search_logged_models([experiment], filter_string=f"source_run_id = '{run_id}'"):
        api.delete_logged_model(left.model_id)


def _declared(processing: Processing, folder: Path) -> list[str]:
    """The file that says what goes before and after the graph; none where nothing does."""
    if processing == Processing():
        return []
    path = folder / FILE
    unsaid = None if processing.task else {"task"}  # what earlier releases can read stays such
    data = processing.model_dump_json(indent=1, exclude=unsaid).encode()
    parse(data)  # what is too large for the server is told here
    path.write_bytes(data)
    return [str(path)]


def _log(
    model: "Module | Path", example: "Tensor", folder: Path, extra: list[str], processing: Processing, rtol: float
) -> str:
    import mlflow
    import torch
    from mlflow.models import infer_signature

    model = load_program(model) if isinstance(model, Path) else model
    exported = export(model, example, folder, processing, rtol)
    with torch.no_grad():
        answers = model(example).numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        info = mlflow.pytorch.log_model(
            model,
            name="model",
            signature=infer_signature(example.numpy(), answers),
            input_example=example.numpy(),
            pip_requirements=[requirement(torch.__version__)],
            extra_files=[str(exported.onnx), str(exported.golden), *extra],
        )
    return str(info.model_uri)


def requirement(version: str) -> str:
    """The torch that a model needs, as pip takes it: without the build (`+cpu`), which an index may name otherwise."""
    return f"torch=={version.partition('+')[0]}"


def _log_onnx(model: Path, example: "Tensor", folder: Path, extra: list[str], rtol: float) -> str:
    import mlflow
    import onnx
    from mlflow.models import infer_signature

    adopted = adopt(model, example, folder, rtol)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        info = mlflow.onnx.log_model(
            onnx.load(str(adopted.onnx)),
            name="model",
            signature=infer_signature(example.numpy(), adopted.answers),
            input_example=example.numpy(),
            pip_requirements=["onnxruntime"],
            save_as_external_data=False,
            extra_files=[str(adopted.onnx), str(adopted.golden), *extra],
        )
    return str(info.model_uri)


def _digests(uri: str, folder: Path) -> dict[str, str]:
    """sha256 by path, of what MLflow hands back rather than of what was handed in."""
    import mlflow

    folder.mkdir()
    root = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(folder)))
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): file_sha256(path) for path in files}
