"""A graph of several inputs and outputs, made without torch: tokens with a mask, numbers, a category, a picture."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime  # noqa: TID253 - a test of graphs
import pytest
from onnx import TensorProto, helper, numpy_helper

from airloom.inputs.declared import InputProcessing, Scale
from airloom.pictures import Picture
from airloom.processing import Processing
from airloom_serving.served import ServedModel

DECLARED = Processing(
    inputs={
        "ids": InputProcessing(pad=0, columns=["words"]),
        "mask": InputProcessing(mask="ids"),
        "numbers": InputProcessing(
            numbers={"miles": Scale(mean=100, deviation=50), "hour": Scale(mean=12, deviation=6)}
        ),
        "kind": InputProcessing(categories={"kind": ["bus", "train"]}),
        "image": InputProcessing(picture=Picture(height=2, width=2, mode="L")),
    }
)


def write_graph(path: Path) -> None:
    """`scores` (n, 3) and `length` (n,)."""
    generator = np.random.default_rng(3)
    tables = {"words": (10, 3), "weights": (2, 3), "kinds": (3, 3)}
    weights = [
        numpy_helper.from_array(generator.normal(size=shape).astype(np.float32), f"t_{name}")
        for name, shape in tables.items()
    ] + [
        numpy_helper.from_array(np.array(axes), name)
        for name, axes in (("last", [2]), ("one", [1]), ("rest", [1, 2, 3]))
    ]
    steps = [
        ("Gather", ["t_words", "ids"], "embedded"),
        ("Cast", ["mask"], "there"),
        ("Unsqueeze", ["there", "last"], "wide"),
        ("Mul", ["embedded", "wide"], "kept"),
        ("ReduceSum", ["kept", "one"], "text"),
        ("MatMul", ["numbers", "t_weights"], "table"),
        ("Gather", ["t_kinds", "kind"], "kinds"),
        ("ReduceSum", ["kinds", "one"], "category"),
        ("ReduceMean", ["image", "rest"], "light"),
        ("Unsqueeze", ["light", "one"], "bright"),
        ("Sum", ["text", "table", "category", "bright"], "scores"),
        ("ReduceSum", ["there", "one"], "length"),
    ]
    options = {"there": {"to": TensorProto.FLOAT}, "length": {"keepdims": 0}, "light": {"keepdims": 0}}
    options["text"] = options["category"] = {"keepdims": 0}
    nodes = [helper.make_node(kind, names, [name], **options.get(name, {})) for kind, names, name in steps]
    whole, real = TensorProto.INT64, TensorProto.FLOAT
    sides = {
        "ids": (whole, ["batch", "length"]),
        "mask": (whole, ["batch", "length"]),
        "numbers": (real, ["batch", 2]),
        "kind": (whole, ["batch", 1]),
        "image": (real, ["batch", 1, 2, 2]),
        "scores": (real, ["batch", 3]),
        "length": (real, ["batch"]),
    }
    ports = [helper.make_tensor_value_info(name, *form) for name, form in sides.items()]
    graph = helper.make_graph(nodes, "several", ports[:5], ports[5:], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)


@pytest.fixture(scope="session")
def session(tmp_path_factory):
    path = tmp_path_factory.mktemp("several") / "model.onnx"
    write_graph(path)
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


@pytest.fixture
def several(session):
    """The model as it is served."""
    return ServedModel("several", "1", session, (), DECLARED)
