"""Two trainings compared: equal, close, different, and from which step on."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airloom.training.reproducibility import reproduce
from airloom.training.reproducibility.reproduce import (
    CLOSE,
    DIFFERS,
    EQUAL,
    Trace,
    compare,
    first_difference,
    weights_digest,
)

history = st.dictionaries(
    st.sampled_from(["loss", "accuracy"]),
    st.dictionaries(st.integers(0, 9).map(str), st.floats(allow_nan=False, width=32)),
)


@given(history)
def test_a_history_equals_itself(found):
    assert first_difference(found, found) == (None, "", 0.0)


@given(history, st.integers(0, 9), st.sampled_from(["loss", "accuracy"]))
def test_the_first_step_that_differs_is_named(found, step, name):
    other = {metric: dict(values) for metric, values in found.items()}
    other.setdefault(name, {})[str(step)] = 1e300
    at, metric, largest = first_difference(found, other)
    assert (at, metric) == (step, name)
    assert largest > 0


def test_bits_decide_and_answers_or_metrics_grade_the_rest():
    loss = {"loss": {"0": 0.5, "1": 0.25}}
    near = {"loss": {"0": 0.5, "1": 0.25 + 1e-7}}
    assert compare(Trace("a", loss), Trace("a", loss)).verdict == EQUAL
    found = compare(Trace("a", loss, [[1.0, 2.0]]), Trace("b", near, [[1.0, 2.0 + 1e-6]]))
    assert (found.verdict, found.first_step, found.metric) == (CLOSE, 1, "loss")
    assert compare(Trace("a", loss, [[1.0]]), Trace("b", near, [[2.0]])).verdict == DIFFERS
    assert compare(Trace("", loss), Trace("b", near)).verdict == CLOSE  # an old run without a digest
    assert compare(Trace("a", loss), Trace("b", {"loss": {"0": 0.5}})).verdict == DIFFERS
    assert compare(Trace("a", {}, [[math.nan]]), Trace("b", {}, [[1.0]])).verdict == DIFFERS


def test_answers_are_close_by_their_size():
    loss, other = {"loss": {"0": 0.5}}, {"loss": {"0": 0.6}}
    prices = Trace("a", loss, [[512_345.6], [498_001.2]])
    assert compare(prices, Trace("b", other, [[512_345.8], [498_001.2]])).verdict == CLOSE
    assert compare(prices, Trace("b", other, [[512_845.8], [498_001.2]])).verdict == DIFFERS
    assert compare(Trace("a", loss, [[math.inf]]), Trace("b", other, [[1.0]])).verdict == DIFFERS


def test_a_model_of_tokens_is_asked_with_whole_numbers():
    import torch

    model = torch.nn.Embedding(4, 2)
    asked = {"input": np.array([[1, 3]], np.int64)}
    assert reproduce._answers(model, asked) == [model(torch.tensor([[1, 3]])).tolist()]


@pytest.mark.parametrize("change", ["value", "name", "type", "shape"])
def test_the_digest_of_weights_sees_every_change(change):
    import torch

    torch.manual_seed(0)
    model, other = torch.nn.Linear(4, 2), torch.nn.Linear(4, 2)
    other.load_state_dict(model.state_dict())
    assert weights_digest(model) == weights_digest(other)
    if change == "value":
        with torch.no_grad():
            other.weight[1, 3] = torch.nextafter(other.weight[1, 3], torch.tensor(9.0))
    elif change == "type":
        other = other.double()
    elif change == "name":
        other.renamed = torch.nn.Parameter(other.bias.detach().clone())
        del other.bias
    else:
        other.weight = torch.nn.Parameter(other.weight.detach().reshape(2, 2, 2))
    assert weights_digest(model) != weights_digest(other)
