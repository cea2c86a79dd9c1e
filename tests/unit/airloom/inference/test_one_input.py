"""A model of one input: rows need no names; one of an earlier release takes rows of its example's size only."""

import onnxruntime  # noqa: TID253 - a test of graphs
import pytest
from onnx import TensorProto, helper

from airloom.errors import ConfigError, InstancesRefused
from airloom.inference.model import LoadedModel
from airloom.inputs.declared import InputProcessing
from airloom.inputs.prepare import check
from airloom.processing import Processing


@pytest.fixture(scope="module")
def session():
    """The sum of a row of any length."""
    ports = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "length"]),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch"]),
    ]
    one = helper.make_node("Constant", [], ["one"], value_ints=[1])
    total = helper.make_node("ReduceSum", ["x", "one"], ["y"], keepdims=0)
    graph = helper.make_graph([one, total], "g", ports[:1], ports[1:])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])


def answers(model, rows):
    return model.answers(model.parse(rows)).predictions


def test_rows_of_any_length_are_filled_up_where_it_is_said(session):
    plain = LoadedModel("sums", "1", session, ())
    assert answers(plain, [[1, 2, 3], [4, 5, 6]]) == [6, 15]
    assert answers(plain, [{"x": [1.5]}]) == [1.5]
    with pytest.raises(InstancesRefused, match=r"instance 1: 'x' has the shape \(1,\), and instance 0 has \(3,\)"):
        answers(plain, [[1, 2, 3], [4]])
    filled = LoadedModel("sums", "1", session, (), Processing(inputs={"x": InputProcessing(pad=0.5)}))
    assert answers(filled, [[1, 2, 3], [4], []]) == [6, 5, 1.5]


def test_one_of_an_earlier_release_takes_the_size_of_its_example(session):
    earlier = LoadedModel("sums", "1", session, (3,), is_open=False)
    assert answers(earlier, [[1, 2, 3]]) == [6]
    with pytest.raises(InstancesRefused, match=r"shape \(n, 3\) of numbers; instance 0 has shape \(2,\)"):
        answers(earlier, [[1, 2]])


def test_what_is_declared_of_no_input_is_refused(session):
    model = LoadedModel("sums", "1", session, ())
    with pytest.raises(ConfigError, match="'z' is no input of the model"):
        check(model.graph, {"z": InputProcessing(pad=0)})
