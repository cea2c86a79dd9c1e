"""Models that are broken or hostile: what a checker process finds, and that it ends."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from airloom.tracking.artifacts import GOLDEN, ONNX
from airloom_serving import verdicts
from airloom_serving.verdicts import Checkers, Refused


def write(folder, nodes, initializers=(), outputs=((1.0, 2.0, 3.0), (1.0, 2.0, 3.0))):
    """A model that takes three numbers, and the golden answers that it claims; returns its digests."""
    sides = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", "any"]) for name in ("input", "output")]
    graph = helper.make_graph(nodes, "g", sides[:1], sides[1:], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    (folder / ONNX).parent.mkdir(parents=True)
    (folder / ONNX).write_bytes(model.SerializeToString())
    golden = {"inputs": [[1.0, 2.0, 3.0]] * 2, "outputs": [list(row) for row in outputs]}
    (folder / GOLDEN).write_text(json.dumps(golden))
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (ONNX, GOLDEN)}


def good(folder):
    return write(folder, [helper.make_node("Identity", ["input"], ["output"])])


def other_answers(folder):
    return write(folder, [helper.make_node("Neg", ["input"], ["output"])])


def no_answers(folder):
    return write(folder, [helper.make_node("Identity", ["input"], ["output"])], outputs=((float("nan"),) * 3,) * 2)


def endless(folder):
    """A loop without a bound whose condition stays true."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["going"], ["still"]), helper.make_node("Identity", ["value"], ["next"])],
        "body",
        [
            helper.make_tensor_value_info("number", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("value", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("still", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, None),
        ],
    )
    truth = numpy_helper.from_array(np.array(True), "truth")
    return write(folder, [helper.make_node("Loop", ["", "truth", "input"], ["output"], body=body)], [truth])


def expanding(folder):
    """A kilobyte of file that becomes gigabytes in memory."""
    shape = numpy_helper.from_array(np.array([3 * 2**28, 1], np.int64), "shape")  # 3 GB of float32
    nodes = [helper.make_node("ConstantOfShape", ["shape"], ["large"])]
    nodes += [helper.make_node("ReduceSum", ["large"], ["sum"]), helper.make_node("Add", ["input", "sum"], ["output"])]
    return write(folder, nodes, [shape])


def pictures(folder):
    """One answer for each pixel is none that the server can give."""
    nodes = [helper.make_node("Unsqueeze", ["input", "axes"], ["output"])]
    return write(folder, nodes, [numpy_helper.from_array(np.array([2], np.int64), "axes")])


def texts(folder):
    return write(folder, [helper.make_node("Cast", ["input"], ["output"], to=TensorProto.STRING)])


def no_model(folder):
    digests = good(folder)
    (folder / ONNX).write_bytes(b"no model")
    return digests | {ONNX: hashlib.sha256(b"no model").hexdigest()}


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """Checkers with little patience for what computes."""
    checkers = Checkers(tmp_path_factory.mktemp("verdicts"), seconds=1)
    yield checkers
    checkers.close()


BAD = {
    other_answers: "differs from its golden answers",
    no_answers: "differs from its golden answers",
    endless: "computed for more than 1 s",
    expanding: "more than 512 MB of memory",
    pictures: r"answers 2 rows with float32 of shape \(2, 3, 1\)",
    texts: "Type Error|no tensor of numbers",
    no_model: "protobuf parsing failed",
}


@pytest.mark.parametrize("make", BAD, ids=lambda make: make.__name__)
def test_a_bad_model_is_refused_and_the_next_one_is_not(short, tmp_path, make):
    digests = make(tmp_path / "bad")
    with pytest.raises(Refused, match=BAD[make]):
        short.judge("m", "1", tmp_path / "bad", digests)
    short.judge("m", "2", tmp_path / "good", good(tmp_path / "good"))


def test_a_verdict_is_kept_by_digest(tmp_path, monkeypatch):
    digests = good(tmp_path / "m")
    first = Checkers(tmp_path / "verdicts")
    first.judge("m", "1", tmp_path / "m", digests)
    first.close()

    def none(*_):
        raise AssertionError("a process was started")

    monkeypatch.setattr(verdicts, "Checker", none)
    Checkers(tmp_path / "verdicts").judge("other", "7", tmp_path / "m", digests)
    with pytest.raises(AssertionError, match="a process"):
        Checkers(tmp_path / "verdicts").judge("m", "1", tmp_path / "m", digests | {GOLDEN: "0"})


def test_a_checker_knows_no_secrets(tmp_path, monkeypatch):
    monkeypatch.setenv("AIRLOOM_SERVER_TOKEN", "secret")
    checkers = Checkers(tmp_path / "verdicts")
    checkers.warm_up()
    checker = checkers._take()
    environment = Path(f"/proc/{checker._process.pid}/environ").read_text()
    checkers.close()
    assert "secret" not in environment
    assert not checker.alive
