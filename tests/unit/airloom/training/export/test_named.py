"""Models of several named inputs and outputs, with dimensions of any size: torch and ONNX answer alike."""

import json
from dataclasses import dataclass

import numpy as np
import onnx
import pytest
import torch  # noqa: TID253 - a test of torch code
from onnx import TensorProto, helper
from torch import nn  # noqa: TID253 - as above

from airloom.errors import ConfigError, JobFailed
from airloom.golden import Golden
from airloom.training.export.adopt import adopt
from airloom.training.export.example import Example
from airloom.training.export.onnx import export


@dataclass
class Answer:
    scores: torch.Tensor
    states: torch.Tensor
    unused: torch.Tensor | None = None


class Encoder(nn.Module):
    """Token numbers of 32 bits, a mask, positions up to 16 in a buffer, an embedding tied to the output."""

    def __init__(self):
        super().__init__()
        self.words, self.out = nn.Embedding(50, 8), nn.Linear(8, 50, bias=False)
        self.out.weight = self.words.weight
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.register_buffer("positions", torch.randn(16, 8))

    def forward(self, input_ids, attention_mask):
        x = self.words(input_ids) + self.positions[: input_ids.shape[1]]
        x, _ = self.attention(x, x, x, key_padding_mask=attention_mask == 0, need_weights=False)
        weight = attention_mask.unsqueeze(-1).float()
        return Answer(self.out((x * weight).sum(1) / weight.sum(1).clamp_min(1.0)), x)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.out = nn.LSTM(3, 5, batch_first=True), nn.Linear(5, 2)

    def forward(self, series):
        return self.out(self.lstm(series)[0][:, -1])


class Sides(nn.Module):
    """A tuple in, a dict out."""

    def forward(self, left, right, keep):
        return {"sum": left + right, "kept": torch.where(keep, left, right), "count": keep.sum(1)}


TEXTS = {"input_ids": torch.randint(0, 50, (2, 6), dtype=torch.int32), "attention_mask": torch.ones(2, 6).long()}
LENGTH = {"input_ids": {1: "length"}, "attention_mask": {1: "length"}}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    torch.manual_seed(0)
    model = Encoder().eval()
    return model, export(model, Example.of(TEXTS, model, LENGTH), tmp_path_factory.mktemp("encoder"))


def test_its_signature_has_the_names_types_and_open_dimensions(encoder):
    _, exported = encoder
    assert str(exported.signature) == (
        "input_ids: int32 (batch, length), attention_mask: int64 (batch, length) -> "
        "scores: float32 (batch, 50), states: float32 (batch, length, 8)"
    )
    golden = Golden.parse(exported.golden.read_bytes(), exported.signature)
    assert golden.inputs["input_ids"].dtype == np.int32
    assert golden.differences.keys() == {"scores", "states"}
    assert max(golden.differences.values()) < 1e-5


def test_a_recurrent_model_takes_series_of_any_length(tmp_path):
    model = Recurrent().eval()
    exported = export(model, Example.of(torch.randn(2, 4, 3), model, {"input": {1: "time"}}), tmp_path)
    assert str(exported.signature) == "input: float32 (batch, time, 3) -> output: float32 (batch, 2)"


def test_a_tuple_has_the_names_of_forward_and_a_dict_its_own(tmp_path):
    example = (torch.randn(2, 3), torch.randn(2, 3), torch.tensor([[True, False, True]] * 2))
    exported = export(Sides().eval(), example, tmp_path)
    assert [port.name for port in exported.signature.inputs] == ["left", "right", "keep"]
    assert [str(port) for port in exported.signature.outputs] == [
        "sum: float32 (batch, 3)",
        "kept: float32 (batch, 3)",
        "count: int64 (batch,)",
    ]


class Fixed(nn.Module):
    def forward(self, x):
        return x.reshape(x.shape[0], 2, 3).sum(2)


def test_a_dimension_that_is_not_open_is_told(tmp_path):
    model = Fixed().eval()
    with pytest.raises(JobFailed, match=r"cannot be exported|takes 6 only"):
        export(model, Example.of(torch.randn(2, 6), model, {"input": {1: "length"}}), tmp_path)


@pytest.mark.parametrize(
    ("dynamic", "message", "hint"),
    [
        ({"input_id": {1: "length"}}, "dynamic names the input 'input_id'", "did you mean input_ids"),
        ({"input_ids": {0: "rows"}}, r"dynamic\['input_ids'\]\[0\] is no dimension of \(2, 6\)", "any size anyway"),
        ({"input_ids": {2: "length"}}, "is no dimension", "1 to 1"),
        ({"input_ids": {1: "a length"}}, "is 'a length'", "such as"),
        ({"input_ids": {1: "batch"}}, "is 'batch'", "such as"),
    ],
)
def test_what_is_said_to_be_open_is_checked(dynamic, message, hint):
    with pytest.raises(ConfigError, match=message) as refusal:
        Example.of(TEXTS, Encoder(), dynamic)
    assert hint in refusal.value.hint


def graph(folder, names, nodes, shape=("batch", 3), outputs=("y",)):
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)) for name in names]
    answers = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    made = helper.make_graph(nodes, "g", inputs, answers)
    path = folder / "theirs.onnx"
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def test_an_onnx_file_of_several_inputs_and_outputs_is_taken(tmp_path):
    nodes = [helper.make_node("Add", ["a", "b"], ["y"]), helper.make_node("Sub", ["a", "b"], ["z"])]
    file = graph(tmp_path, ["a", "b"], nodes, ("batch", "n"), ("y", "z"))
    folder = tmp_path / "ours"
    folder.mkdir()
    rows = {"b": torch.rand(2, 3), "a": torch.rand(2, 3)}
    taken = adopt(file, rows, folder)
    assert [str(port) for port in taken.signature.inputs] == ["a: float32 (batch, n)", "b: float32 (batch, n)"]
    np.testing.assert_allclose(taken.outputs["z"], (rows["a"] - rows["b"]).numpy())
    assert json.loads(taken.golden.read_text())["inputs"].keys() == {"a", "b"}
    assert adopt(file, (rows["a"], rows["b"]), folder).outputs["z"].tolist() == taken.outputs["z"].tolist()


def test_a_dimension_that_a_graph_only_seems_to_leave_open_is_fixed(tmp_path):
    weights = helper.make_node("Constant", [], ["w"], value=onnx.numpy_helper.from_array(np.ones((3, 2), np.float32)))
    file = graph(tmp_path, ["x"], [weights, helper.make_node("MatMul", ["x", "w"], ["y"])], (None, None))
    folder = tmp_path / "ours"
    folder.mkdir()
    assert [port.row for port in adopt(file, torch.rand(2, 3), folder).signature.inputs] == [(3,)]


@pytest.mark.parametrize(
    ("names", "example", "message", "hint"),
    [
        (["x", "x"], torch.rand(2, 3), "two inputs have the name 'x'", "a name of its own"),
        (["a", "b"], torch.rand(2, 3), "has the inputs a, b, and the example is 1 tensor", "a dict by input"),
        (["a", "bee"], {"a": torch.rand(2, 3), "bees": torch.rand(2, 3)}, "has no input 'bee'", "did you mean bees"),
        (["a"], {"a": torch.rand(2, 3), "c": torch.rand(2, 3)}, "an input 'c' that the graph has not", "are a"),
    ],
)
def test_an_onnx_file_that_does_not_fit_is_refused_by_name(tmp_path, names, example, message, hint):
    file = graph(tmp_path, names, [helper.make_node("Identity", [names[0]], ["y"])])
    folder = tmp_path / "ours"
    folder.mkdir()
    with pytest.raises(JobFailed, match=message) as refusal:
        adopt(file, example, folder)
    assert "theirs.onnx cannot be used" in refusal.value.message
    assert hint in refusal.value.hint
