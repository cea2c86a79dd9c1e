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
from benchmarks import _registered

SIDE, CLASSES = 32, 10


class Net:
    """A graph, layer by layer; weights are drawn from a seed, as large as keeps what goes through them (He's rule)."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.weights: dict[str, np.ndarray[Any, Any]] = {}
        self._drawn = np.random.default_rng(0)

    def layer(self, kind: str, *inputs: str, **options: Any) -> str:
        """Add a layer; the name of what it gives."""
        from onnx import helper

        name = f"{kind}{len(self.nodes)}".lower()
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **options))
        return name

    def weight(self, *shape: int) -> str:
        """Add weights; their name. All numbers but the first one go into one output."""
        name, into = f"w{len(self.weights)}", int(np.prod(shape[1:]))
        self.weights[name] = (self._drawn.normal(size=shape) * (2 / into) ** 0.5).astype(np.float32)
        return name

    def conv(self, given: str, channels: int, wanted: int, side: int = 3, stride: int = 1, pad: int = 1) -> str:
        """Add a convolution."""
        options = {"strides": [stride] * 2, "pads": [pad] * 4}
        return self.layer("Conv", given, self.weight(wanted, channels, side, side), **options)

    def head(self, given: str, channels: int) -> None:
        """The mean of each channel, and a score for each class of these."""
        flat = self.layer("Flatten", self.layer("GlobalAveragePool", given))
        scores = self.layer("Gemm", flat, self.weight(CLASSES, channels), transB=1)
        self.nodes[-1].output[0] = "output"
        assert scores


def resnet() -> Net:
    """ResNet-20 of He et al. for pictures of 32 x 32: 41 million multiplications a row, among the least in use."""
    net, channels = Net(), 16
    at = net.layer("Relu", net.conv("input", 3, channels))
    for stage in range(3):
        for block in range(3):
            stride, wanted = (2 if stage and not block else 1), 16 << stage
            inner = net.conv(net.layer("Relu", net.conv(at, channels, wanted, stride=stride)), wanted, wanted)
            around = at if channels == wanted else net.conv(at, channels, wanted, side=1, stride=stride, pad=0)
            at, channels = net.layer("Relu", net.layer("Add", inner, around)), wanted
    net.head(at, channels)
    return net


def small() -> Net:
    """Two convolutions: 4 million multiplications a row, less than anybody uses; what is around it shows most."""
    net = Net()
    first = net.layer("Relu", net.conv("input", 3, 32, pad=0))
    net.head(net.layer("Relu", net.conv(first, 32, 64, stride=2, pad=0)), 64)
    return net


NETS: dict[str, Callable[[], Net]] = {"resnet": resnet, "small": small}


def write(net: Net, folder: Path) -> None:
    """The graph, and its golden answers."""
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        net.nodes,
        "net",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", CLASSES])],
        [numpy_helper.from_array(values, name) for name, values in net.weights.items()],
    )
    folder.mkdir(parents=True)
    imports = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=10), folder / "model.onnx")
    inputs = np.random.default_rng(2).random((3, 3, SIDE, SIDE), np.float32)
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    outputs = session.run(None, {"input": inputs})[0]
    (folder / "golden.json").write_text(json.dumps({"inputs": inputs.tolist(), "outputs": outputs.tolist()}))


def prepare(settings: Settings, rows: str) -> dict[str, Any]:
    """A dataset of pictures, and a registered model of each net."""
    from airloom.datasets.commit import commit
    from airloom.datasets.ingest.images import image_table

    drawn = np.random.default_rng(1)
    pixels = drawn.integers(0, 256, (int(rows), 3, SIDE, SIDE), np.uint8)
    expected = [{"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}, "severity": "critical"}]
    suite = settings.project / "suite.json"
    suite.write_text(json.dumps({"name": "pictures", "expectations": expected, "meta": {}}))
    table = image_table(pixels, drawn.integers(0, CLASSES, int(rows)))
    commit(settings, "pictures", table, message="drawn", suite=suite)
    return {name: _register(settings, name) for name in NETS}


def _register(settings: Settings, net: str) -> str:
    graph = settings.home / "graphs" / net
    write(NETS[net](), graph)
    return _registered.register(settings, net, graph, "pictures")


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
