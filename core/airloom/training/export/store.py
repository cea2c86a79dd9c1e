"""Put a trained model into MLflow: torch.export program, ONNX and golden answers, without any pickle."""

import json
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airloom.contracts import TrainedModel
from airloom.files import file_sha256
from airloom.golden import RTOL
from airloom.inputs.prepare import check
from airloom.processing import FILE, Processing, parse
from airloom.signature import Port, Signature
from airloom.tracking.tags import Tag
from airloom.training.export.adopt import adopt
from airloom.training.export.coded_export import AsPython, CodedModel, keep_code
from airloom.training.export.example import Example
from airloom.training.export.onnx import ExportedModel, export, load_program

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.models import ModelSignature
    from torch import Tensor
    from torch.nn import Module

LONGEST_TAG = 8000  # characters that MLflow keeps of a run's tag


def store_model(
    run_id: str,
    model: "Module | Path",
    example: "Example | Tensor | Any",
    parameters: dict[str, Any],
    metrics: dict[str, float],
    processing: Processing | None = None,
    rtol: float = RTOL,
    how: AsPython | None = None,
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
        how: the module is kept as Python; None: as ONNX.

    Raises:
        JobFailed: the ONNX export failed or its answers differ from torch's; or the commit's code differs.
        ConfigError: the code of a module that is kept as Python is in no commit.
    """
    import mlflow

    with tempfile.TemporaryDirectory(prefix="airloom-model-") as folder, mlflow.start_run(run_id=run_id):
        _forget_others(run_id)
        processing = processing or Processing()
        extra = _declared(processing, Path(folder))
        if isinstance(model, Path) and model.suffix == ".onnx":
            exported = adopt(model, example, Path(folder), rtol)
            check(exported.signature, processing.inputs)
            uri, described = _log_onnx(exported, extra), _described(exported.signature, exported.differences, rtol)
        elif how is not None and not isinstance(model, Path):
            coded = keep_code(model, Example.of(example, model), Path(folder), how, processing, rtol)
            uri = _log_coded(run_id, coded, extra, Path(folder) / "coded")
            described = _described(coded.files.coded.signature, {}, rtol)
        else:
            model = load_program(model) if isinstance(model, Path) else model
            example = Example.of(example, model)
            exported = export(model, example, Path(folder), processing, rtol)
            uri = _log(model, example, exported, extra)
            described = _described(exported.signature, exported.differences, rtol)
        digests = _digests(uri, Path(folder) / "check")
        trained = TrainedModel(run_id, uri, digests, metrics, parameters)
        # Last before the run ends: a FINISHED run with these tags is a complete one.
        tags = {Tag.MODEL_URI: uri, Tag.DIGESTS: json.dumps(digests), Tag.METRICS: json.dumps(metrics)}
        tags[Tag.GRAPH] = json.dumps(described)
        for tag in (Tag.METRICS, Tag.GRAPH):  # the run has its metrics, the model its graph
            if len(tags[tag]) > LONGEST_TAG:
                del tags[tag]  # MLflow would cut it, and half a JSON is none
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
    """The files that say what goes before and after the graph; none where nothing does."""
    if processing == Processing():
        return []
    # What earlier releases can read stays such.
    unsaid: dict[str, Any] = {} if processing.task else {"task": True}
    unsaid |= {"inputs": {"__all__": {"picture": {"label"}}}}
    unsaid |= {"picture": {"label"}} if processing.picture and not processing.picture.label else {}
    files = {FILE: processing.model_dump_json(indent=1, exclude=unsaid)}
    parse(files[FILE].encode())  # what is too large for the server is told here
    texts = {name: part.tokenizer for name, part in processing.inputs.items() if part.tokenizer}
    for name, tokenizer in texts.items():  # for those who have the library, and nothing of ours
        files["tokenizer.json" if len(texts) == 1 else f"{name}.tokenizer.json"] = json.dumps(tokenizer)
    for name, text in files.items():
        (folder / name).write_text(text)
    return [str(folder / name) for name in files]


def _described(signature: Signature, differences: dict[str, float], rtol: float) -> dict[str, Any]:
    """What a card says of the graph."""
    ports = {"inputs": [str(port) for port in signature.inputs], "outputs": [str(port) for port in signature.outputs]}
    return {**ports, "rtol": rtol, "differences": differences}


def _log(model: "Module", example: Example, exported: ExportedModel, extra: list[str]) -> str:
    """MLflow's pyfunc takes a torch program of one tensor in and one out only: all others are asked as ONNX there."""
    import mlflow
    import torch

    if not example.is_plain or len(exported.outputs) > 1:
        return _log_onnx(exported, extra)
    (inputs,) = exported.inputs.values()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        info = mlflow.pytorch.log_model(
            model,
            name="model",
            signature=_mlflow_signature(exported.signature),
            input_example=inputs,
            pip_requirements=[requirement(torch.__version__)],
            extra_files=[str(exported.onnx), str(exported.golden), *extra],
        )
    return str(info.model_uri)


def requirement(version: str) -> str:
    """The torch that a model needs, as pip takes it: without the build (`+cpu`), which an index may name otherwise."""
    return f"torch=={version.partition('+')[0]}"


def _log_onnx(exported: ExportedModel, extra: list[str]) -> str:
    import mlflow
    import onnx

    single = len(exported.inputs) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        info = mlflow.onnx.log_model(
            onnx.load(str(exported.onnx)),
            name="model",
            signature=_mlflow_signature(exported.signature),
            input_example=next(iter(exported.inputs.values())) if single else exported.inputs,
            pip_requirements=["onnxruntime"],
            save_as_external_data=False,
            extra_files=[str(exported.onnx), str(exported.golden), *extra],
        )
    return str(info.model_uri)


def _log_coded(run_id: str, coded: CodedModel, extra: list[str], folder: Path) -> str:
    """MLflow has no flavour that keeps a module without a pickle or a program: it gets files and a signature."""
    import mlflow
    from mlflow.models import Model

    api = mlflow.MlflowClient()
    experiment = api.get_run(run_id).info.experiment_id
    (folder / "extra_files").mkdir(parents=True)
    for path in (coded.files.weights, coded.golden, coded.record, *map(Path, extra)):
        path.rename(folder / "extra_files" / path.name)
    model = api.create_logged_model(experiment, name="model", source_run_id=run_id)
    signature = _mlflow_signature(coded.files.coded.signature)
    Model(run_id=run_id, model_id=model.model_id, signature=signature).save(str(folder / "MLmodel"))
    api.log_model_artifacts(model.model_id, str(folder))
    api.finalize_logged_model(model.model_id, "READY")
    return f"models:/{model.model_id}"


def _mlflow_signature(signature: Signature) -> "ModelSignature":
    """The same as MLflow keeps it: -1 for a dimension of any size; a tensor that is the only one needs no name."""
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    def schema(ports: tuple[Port, ...]) -> Schema:
        shapes = [tuple(size if isinstance(size, int) else -1 for size in port.shape) for port in ports]
        names = [port.name for port in ports] if len(ports) > 1 else [None]
        types = [np.dtype(port.dtype) for port in ports]
        return Schema([TensorSpec(*spec) for spec in zip(types, shapes, names, strict=True)])

    return ModelSignature(schema(signature.inputs), schema(signature.outputs))


def _digests(uri: str, folder: Path) -> dict[str, str]:
    """sha256 by path, of what MLflow hands back rather than of what was handed in."""
    import mlflow

    folder.mkdir()
    root = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(folder)))
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): file_sha256(path) for path in files}
