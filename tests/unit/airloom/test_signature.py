"""The signature is the graph's own."""

import numpy as np
import onnxruntime  # noqa: TID253 - a test of graphs
import pytest
from onnx import TensorProto, helper

from airloom.errors import CorruptFile, DataError
from airloom.golden import Golden
from airloom.signature import Port, Signature, check_names


def session(inputs, outputs=(("y", TensorProto.FLOAT, ["batch"]),)):
    """A graph that answers with constants; only its sides count."""
    ports = [[helper.make_tensor_value_info(*port) for port in side] for side in (inputs, outputs)]
    nodes = [helper.make_node("Constant", [], [name], value_floats=[1.0]) for name, _, _ in outputs]
    graph = helper.make_graph(nodes, "g", *ports)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])


def test_it_has_names_types_and_open_dimensions():
    signature = Signature.of(
        session(
            [
                ("input_ids", TensorProto.INT32, ["batch", "length"]),
                ("mask", TensorProto.BOOL, ["batch", None]),
                ("numbers", TensorProto.DOUBLE, [None, 3]),
                ("one", TensorProto.FLOAT, ["n"]),
            ]
        )
    )
    assert [str(port) for port in signature.inputs] == [
        "input_ids: int32 (batch, length)",
        "mask: bool (batch, mask_1)",
        "numbers: float64 (batch, 3)",
        "one: float32 (n,)",
    ]
    assert [port.is_open for port in signature.inputs] == [True, True, False, False]
    assert [port.values for port in signature.inputs] == [1, 1, 3, 1]
    assert (signature.is_single, signature.input("mask").dtype) == (False, "bool")
    with pytest.raises(DataError, match="no input 'input_id'") as refusal:
        signature.input("input_id")
    assert "did you mean input_ids?" in refusal.value.hint


def test_two_of_one_name_are_refused_by_name():
    with pytest.raises(DataError, match="two inputs have the name 'x'"):
        check_names("input", ["y", "x", "x"])


SIGNATURE = Signature(
    (Port("a", "float32", ("batch", 2)), Port("b", "int64", ("batch", "n"))), (Port("y", "float32", ("batch",)),)
)


def test_golden_answers_are_kept_with_type_and_shape():
    kept = Golden(
        {"a": np.float32([[0.1, np.inf]]), "b": np.zeros((1, 0), np.int64)},
        {"y": np.float32([2])},
        1e-3,
        True,
        {"y": 0},
    )
    read = Golden.parse(kept.dumps(), SIGNATURE)
    for before, after in ((kept.inputs, read.inputs), (kept.outputs, read.outputs)):
        for name in before:
            assert before[name].dtype == after[name].dtype
            np.testing.assert_array_equal(before[name], after[name])
    assert (read.rtol, read.differences, read.rows) == (1e-3, {"y": 0}, 1)


def test_those_of_earlier_releases_have_the_names_of_the_graph():
    single = Signature((Port("input", "int64", ("batch", 2)),), (Port("output", "float32", ("batch", 1)),))
    read = Golden.parse('{"inputs": [[1, 2]], "outputs": [[0.5]], "dtype": "torch.int64"}', single)
    assert read.inputs["input"].dtype == np.int64
    assert (read.outputs["output"].tolist(), read.rtol, read.is_named) == ([[0.5]], None, False)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("[]", "no file of golden answers"),
        ("{", "no file of golden answers: JSONDecodeError"),
        ('{"inputs": {"a": 3}, "outputs": {}}', "no file of golden answers"),
        (
            '{"inputs": {"a": {"dtype": "float32", "shape": [1], "values": [1]}}, "outputs": {}}',
            "has the inputs a, the",
        ),
    ],
)
def test_a_file_that_is_none_or_of_another_graph_is_refused(data, message):
    with pytest.raises(CorruptFile, match=message):
        Golden.parse(data, SIGNATURE)
