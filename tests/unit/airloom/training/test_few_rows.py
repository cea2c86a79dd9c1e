"""A source that is cut down to one batch and the last, smaller one."""

import numpy as np
import pytest
import torch  # noqa: TID253 - a test of torch code
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.training import TensorSource
from airloom.training.few_rows import FewRows


@pytest.fixture
def few():
    rows = np.arange(97)
    source = TensorSource({"train": (rows[:, None].astype(np.float32), rows), "validation": (rows[:2, None], rows[:2])})
    return FewRows(source, 32)


def test_one_batch_and_one_of_the_size_of_the_last(few):
    inputs, labels = few.tensors("train")
    assert len(inputs) == len(labels) == 32 + 97 % 32
    assert torch.equal(inputs[:, 0].long(), labels)
    assert labels[-1] - labels[0] > 90  # from everywhere: neighbours may all be of one class
    data = few.dataset("train")
    assert len(data) == 33
    assert [int(label) for _, label in (data[0], data[32])] == [0, int(labels[-1])]


def test_a_split_of_fewer_rows_stays_whole(few):
    assert len(few.tensors("validation")[0]) == 2


def test_a_loader_gives_its_first_batches_and_keeps_its_state(few):
    loader = few.loader("train", 32, seed=1)
    assert (len(loader), loader.rows, loader.batch_size) == (2, 64, 32)
    assert [len(labels) for _, labels in loader] == [32, 32]
    loader.set_epoch(3)
    assert loader.state_dict()


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 300))
def test_positions_are_in_order_and_each_once(rows, most):
    chosen = FewRows.spread(rows, most)
    assert len(chosen) == min(rows, most)
    assert (np.diff(chosen) > 0).all()
    assert not len(chosen) or (chosen[0] == 0 and chosen[-1] < rows)
