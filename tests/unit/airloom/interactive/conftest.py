"""A home with a registered model of pictures, one of texts and one of a table, made without torch."""

import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from airloom.processing import Pixels, Processing, Tokenise

WORDS = ["well", "made", "broke", "it", "at", "once", "good", "bad"]
PROCESSING = {
    "pictures": Processing(classes=[3, 5, 7], pixels=Pixels.UNIT),
    "bytes": Processing(classes=[3, 5, 7], pixels=Pixels.BYTES),
    "texts": Processing(tokenise=Tokenise(vocabulary=WORDS, length=6), classes=["bad", "good"]),
    "table": Processing(columns=["miles", "hour"], classes=["late", "on time"], observed={"miles": (0.0, 900.0)}),
    "prices": Processing(columns=["miles", "hour"]),
}
SHAPES = {"pictures": (1, 4, 4), "bytes": (1, 4, 4), "texts": (6,), "table": (2,), "prices": (2,)}


def write_model(folder: Path, kind: str) -> None:
    """A linear model of the flattened input, its golden answers and its processing."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    shape, declared = SHAPES[kind], PROCESSING[kind]
    generator, whole = np.random.default_rng(7), declared.tokenise is not None
    weights = generator.normal(size=(int(np.prod(shape)), max(1, len(declared.classes)))).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["input"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["numbers"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("input", TensorProto.INT64 if whole else TensorProto.FLOAT, ["batch", *shape])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", weights.shape[1]])],
        [numpy_helper.from_array(weights, "w")],
    )
    folder.mkdir(parents=True)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), folder / "model.onnx"
    )
    inputs = generator.integers(0, 9, (3, *shape)) if whole else generator.random((3, *shape), np.float32)
    outputs = inputs.reshape(3, -1).astype(np.float32) @ weights
    golden = {"inputs": inputs.tolist(), "outputs": outputs.tolist(), "dtype": str(inputs.dtype), "rtol": 1e-4}
    (folder / "golden.json").write_text(json.dumps(golden))
    (folder / "processing.json").write_text(declared.model_dump_json(exclude_defaults=True))


@pytest.fixture(scope="session")
def register(make_world) -> Callable[[Any, str], str]:
    """Register a version of a kind in a home; its number."""

    def make(settings, kind: str) -> str:
        world = make_world(settings, kind)
        ctx = world.ctx(uuid.uuid4().hex)
        folder = settings.home / "made" / uuid.uuid4().hex
        write_model(folder / "extra_files", kind)
        return world.register_trained(ctx, world.log(ctx, folder)).version

    return make


@pytest.fixture(scope="module")
def home(make_home, register, tmp_path_factory) -> Iterator[Any]:
    """With the champion of each kind, found by the environment as in a notebook."""
    from airloom.deployment import record

    folder = tmp_path_factory.mktemp("door")
    settings = make_home(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRLOOM_HOME", str(settings.home))
        patch.setenv("AIRLOOM_PROJECT", str(folder / "project"))
        for kind in SHAPES:
            record.deploy(settings, kind, register(settings, kind))
        yield settings
