"""Models of the digits and of a table, in the home that all tests share; parts are small, so that there are several."""

import json
import uuid
from pathlib import Path

import pyarrow as pa
import pytest

from airloom.prediction import planning


@pytest.fixture
def model(world, monkeypatch) -> str:
    """A model of the digits, wrong about two of them."""
    monkeypatch.setenv("AIRLOOM_HOME", str(world.settings.home))
    monkeypatch.setenv("AIRLOOM_PROJECT", str(world.settings.project))
    monkeypatch.setattr(planning.parts_of, "__defaults__", (100,))
    made = world.register("one", wrong=(3, 4))
    return f"{made.model}/{made.version}"


def write_ratio(folder: Path) -> None:
    """A model of two columns, which divides one by the other."""
    import onnx
    from onnx import TensorProto, helper

    folder.mkdir(parents=True)
    nodes = [
        helper.make_node("Split", ["input"], ["a", "b"], axis=1, num_outputs=2),
        helper.make_node("Div", ["a", "b"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes,
        "ratio",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 2])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 1])],
    )
    imports = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=10), folder / "model.onnx")
    golden = {"inputs": [[1.0, 2.0], [3.0, 4.0]], "outputs": [[0.5], [0.75]]}
    (folder / "golden.json").write_text(json.dumps(golden))
    (folder / "processing.json").write_text(json.dumps({"columns": ["a", "b"]}))


@pytest.fixture
def register_ratio():
    """Register such a model in a world."""

    def register(world) -> str:
        folder = world.settings.home / "made" / uuid.uuid4().hex
        write_ratio(folder / "extra_files")
        made = world.register_trained(ctx := world.ctx("table"), world.log(ctx, folder))
        return f"{made.model}/{made.version}"

    return register


@pytest.fixture
def table_model(world, model, register_ratio) -> tuple[str, str]:
    """Such a model, and the name of a dataset that is not there yet."""
    return register_ratio(world), f"t{world.pipeline.pipeline}"


@pytest.fixture
def put(tmp_path: Path):
    """Commit a table to a dataset."""
    from airloom.datasets.commit import commit
    from airloom.datasets.ingest import from_table
    from airloom.datasets.storage.schema import Layout

    expected = [{"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}, "severity": "critical"}]
    suite = tmp_path / "suite.json"
    suite.write_text(json.dumps({"name": "rows", "expectations": expected, "meta": {}}))

    def commit_rows(settings, name: str, values: dict[str, list], key: str = ""):
        rows = from_table(pa.table(values), Layout("tabular", key=key))
        return commit(settings, name, rows, message="rows", suite=suite)

    return commit_rows
