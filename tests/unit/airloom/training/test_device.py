"""What a device sees of `fit`, tried without one: torch's device `meta` holds no numbers."""

from collections import namedtuple

import pytest
import torch  # noqa: TID253 - a test of torch code
from torch import nn  # noqa: TID253
from torch.nn.utils.rnn import pack_sequence  # noqa: TID253

from airloom.training import TensorSource, fit
from airloom.training.named import Taken, Taker, move
from airloom.training.stepper import Stepper

Boxes = namedtuple("Boxes", "places labels")


def test_a_batch_goes_to_the_device_whatever_it_is_nested_in() -> None:
    one = torch.zeros(2)
    batch = {
        "pair": (one, [one, "text"]),
        "rows": [{"boxes": one, "name": None}],
        "named": Boxes(one, 3),
        "packed": pack_sequence([one]),
    }
    moved = move(batch, "meta")
    first, (second, text) = moved["pair"]
    assert isinstance(moved["pair"], tuple)
    assert isinstance(moved["named"], Boxes)
    tensors = (first, second, moved["rows"][0]["boxes"], moved["named"].places, moved["packed"].data)
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert (text, moved["rows"][0]["name"], moved["named"].labels) == ("text", None, 3)


@pytest.mark.parametrize("nest", [tuple, list])
def test_a_model_of_several_inputs_in_one_gets_them_all_there(nest) -> None:
    taken = Taker(nn.Bilinear(2, 2, 1)).take((nest([torch.zeros(3, 2)] * 2), torch.zeros(3)), "meta")
    assert {part.device.type for part in (*taken.inputs[0], taken.target)} == {"meta"}


def test_a_step_that_fp16_leaves_out_moves_neither_schedule_nor_average() -> None:
    """The first scale is too large for these gradients: the scaler halves it until it fits."""
    model, counted = nn.Linear(4, 1), {"steps": 0, "schedule": 0, "average": 0}

    def count(name: str) -> None:
        counted[name] += 1

    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
    optimizer.register_step_post_hook(lambda *_: count("steps"))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)
    schedule.step = lambda: count("schedule")
    stepper = Stepper(model, _steep, optimizer, schedule, 1.0, "fp16", "cpu", lambda: count("average"))
    inputs = torch.ones(8, 4)
    for _ in range(20):
        stepper.batch(Taken((inputs,), {}, inputs, 8), 1.0, complete=True)
    assert 0 < counted["steps"] < 20
    assert counted["schedule"] == counted["average"] == counted["steps"]


def _steep(outputs, _labels):
    return (outputs * 300).float().sum()


class Cached(nn.Module):
    """As models with rotary positions do it: what they computed once is kept for the next call."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.kept = nn.Linear(4, 3), None

    def forward(self, inputs):
        if self.kept is None and not self.training:
            self.kept = torch.full((4,), 2.0)
        scale = torch.ones(4) if self.kept is None else self.kept
        return self.linear(inputs * scale) * (scale[:3] * self.linear.bias)


def test_what_a_model_keeps_of_an_evaluation_can_be_trained_with(start) -> None:
    rows = torch.randn(16, 4), torch.arange(16) % 3

    def train(run):
        model = Cached()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        fit(run, model, loss=nn.functional.cross_entropy, optimizer=optimizer, epochs=2)
        run.save_model(model)

    assert set(start(train, TensorSource({"train": rows, "validation": rows})).reports) == {0, 1}
