"""One side of `benchmarks.prediction`, in a process of its own: `prepare ROWS`, `predict MODEL`, `loop MODEL`."""

import hashlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from airloom.settings import Settings, load

SIDE, CLASSES = 32, 10


def cnn(folder: Path) -> None:
    """Two convolutions and a linear layer; the weights are drawn from a seed."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    drawn = np.random.default_rng(0)
    shapes = {"w1": (32, 3, 3, 3), "w2": (64, 32, 3, 3), "w3": (64, CLASSES)}
    weights = {name: (drawn.normal(size=shape) / 8).astype(np.float32) for name, shape in shapes.items()}
    nodes = [
        helper.make_node("Conv", ["input", "w1"], ["c1"]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], strides=[2, 2]),
        helper.make_node("Relu", ["c2"], ["r2"]),
        helper.make_node("GlobalAveragePool", ["r2"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "w3"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes,
        "cnn",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", CLASSES])],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    folder.mkdir(parents=True)
    imports = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=10), folder / "model.onnx")
    import onnxruntime

    inputs = drawn.random((3, 3, SIDE, SIDE), np.float32)
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    outputs = session.run(None, {"input": inputs})[0]
    (folder / "golden.json").write_text(json.dumps({"inputs": inputs.tolist(), "outputs": outputs.tolist()}))


def prepare(settings: Settings, rows: str) -> dict[str, Any]:
    """A dataset of pictures, and a registered version of the CNN."""
    from airloom.datasets.commit import commit
    from airloom.datasets.ingest.images import image_table

    drawn = np.random.default_rng(1)
    pixels = drawn.integers(0, 256, (int(rows), 3, SIDE, SIDE), np.uint8)
    expected = [{"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}, "severity": "critical"}]
    suite = settings.project / "suite.json"
    suite.write_text(json.dumps({"name": "pictures", "expectations": expected, "meta": {}}))
    table = image_table(pixels, drawn.integers(0, CLASSES, int(rows)))
    commit(settings, "pictures", table, message="drawn", suite=suite)
    return {"model": _register(settings)}


def _register(settings: Settings) -> str:
    """As training and the step `register` do it, without a training."""
    import mlflow

    from airloom.contracts import Decision, Evaluation, RunContext, Snapshot, TrainedModel
    from airloom.files import file_sha256
    from airloom.registry.register import register
    from airloom.spec.pipeline import Pipeline
    from airloom.tracking import runs

    api = runs.client(settings)
    values = {"pipeline": "cnn", "dataset": {"name": "pictures"}, "train": "model.py:train"}
    Pipeline.model_validate(values)
    experiment, run = runs.ensure_parent(settings, "cnn", "cnn/bench", {})
    ctx = RunContext("cnn", values, "cnn/bench", run, experiment, Snapshot("s", "pictures", 1, "v", "c", {}, {}))
    training = runs.ensure_child(api, ctx, "train")
    folder = settings.home / "made"
    cnn(folder / "extra_files")
    (folder / "MLmodel").write_text("flavors: {}\n")
    logged = api.create_logged_model(experiment, name="model", source_run_id=training)
    api.log_model_artifacts(logged.model_id, str(folder))
    api.finalize_logged_model(logged.model_id, "READY")
    back = Path(mlflow.artifacts.download_artifacts(artifact_uri=f"models:/{logged.model_id}"))
    digests = {str(file.relative_to(back)): file_sha256(file) for file in back.rglob("*") if file.is_file()}
    trained = TrainedModel(training, f"models:/{logged.model_id}", digests, {}, {})
    nobody = Decision(False, ["no gate"], "", None, judged=False)
    made = register(settings, ctx, trained, Evaluation({"accuracy": 0.1}, "", {}, "", 1), nobody)
    return f"{made.model}/{made.version}"


def predict(settings: Settings, model: str) -> dict[str, Any]:
    """The batch prediction's own work: from shards to Parquet."""
    import shutil

    import pyarrow.parquet as pq

    from airloom.prediction.answer import answer
    from airloom.prediction.folder import Folder
    from airloom.prediction.request import Asked, fix, with_rows

    request = with_rows(settings, fix(settings, Asked(model, "pictures")))
    folder = Folder(settings, request.id)
    shutil.rmtree(folder.path, ignore_errors=True)
    with folder.alone():
        cpu = _cpu(lambda: answer(settings, request, folder))
    return _answered(cpu, pq.read_table(folder.parts).column("prediction").to_numpy())


def loop(settings: Settings, model: str) -> dict[str, Any]:
    """ONNX Runtime on tensors that are there, in the parts that a graph is given at once."""
    from airloom.datasets import versions
    from airloom.datasets.read import read
    from airloom.inference.limits import rows_at_once
    from airloom.prediction.answer import load as load_model
    from airloom.prediction.request import Asked, fix

    loaded = load_model(settings, fix(settings, Asked(model, "pictures")))
    column = read(settings, versions.latest(settings, "pictures")).column("image").combine_chunks()
    tensors = column.flatten().to_numpy().reshape(-1, 3, SIDE, SIDE) / np.float32(255)
    name, size, said = loaded.session.get_inputs()[0].name, rows_at_once(tensors[0].size), []

    def work() -> None:
        for at in range(0, len(tensors), size):
            said.append(loaded.session.run(None, {name: tensors[at : at + size]})[0].argmax(axis=1))

    cpu = _cpu(work)
    return _answered(cpu, np.concatenate(said))


def _cpu(work: Callable[[], Any]) -> float:
    before = time.process_time()
    work()
    return time.process_time() - before


def _answered(cpu: float, said: "np.ndarray[Any, Any]") -> dict[str, Any]:
    digest = hashlib.sha256(np.ascontiguousarray(said, np.int64).tobytes()).hexdigest()
    return {"rows": len(said), "cpu": cpu, "sha256": digest}


if __name__ == "__main__":
    settings = load()
    print(json.dumps({"prepare": prepare, "predict": predict, "loop": loop}[sys.argv[1]](settings, *sys.argv[2:])))
