"""Several ranks: real processes over gloo."""

import os
import signal
import socket
from collections import Counter
from itertools import islice

import pytest
import torch  # noqa: TID253 - a test of torch code

# What the order of additions changes in float32 weights after 44 steps of AdamW; measured: 1.5e-7.
TOLERANCE = 1e-5
ROWS, EPOCHS = 603, 4


def rows(training):
    """How often each row was trained on, by epoch, over all ranks and attempts."""
    lines = [line for path in training.folder.glob("rows-*") for line in path.read_text().splitlines()]
    return Counter((epoch, row) for line in lines for epoch, _, found in [line.partition(":")] for row in found.split())


def weights(training):
    return torch.load(training.folder / "weights.pt", weights_only=True)


@pytest.fixture(scope="module")
def alone(make_training, make_home, tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    training = make_training(make_home(folder), folder / "training", "without_chance", pause=0)
    training.complete()
    return weights(training)


def test_two_ranks_equal_one_with_the_same_global_batch(make_training, make_home, alone, tmp_path):
    training = make_training(make_home(tmp_path), tmp_path / "two", "without_chance", ranks=2, pause=0)
    training.complete()
    assert set(rows(training).values()) == {1}
    assert len(rows(training)) == ROWS * EPOCHS
    for name, expected in alone.items():
        torch.testing.assert_close(weights(training)[name], expected, atol=TOLERANCE, rtol=0)


def test_a_changed_number_of_ranks_trains_on_each_row_once(make_training, make_home, alone, tmp_path):
    training = make_training(make_home(tmp_path), tmp_path / "changing", "without_chance", pause=0.005)
    for ranks, at in ((2, 25), (1, 30), (2, 40)):
        training.ranks = ranks
        ended = training.attempt(at=at, sign=signal.SIGTERM, victim=None)
        assert ended["codes"] == [1] * ranks
        assert training.text("error-0.txt").startswith("StoppedByRequest: stopped on request after")
    training.ranks = 1
    training.complete()
    assert set(rows(training).values()) == {1}
    assert len(rows(training)) == ROWS * EPOCHS
    for name, expected in alone.items():
        torch.testing.assert_close(weights(training)[name], expected, atol=TOLERANCE, rtol=0)
    assert training.steps() == list(range(EPOCHS))


def free(port):
    """Below those that the system hands out itself, so that no connection of the ranks takes it meanwhile."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def test_a_model_that_outlives_its_ranks_does_not_wait_for_ever(trainee):
    """Torch frees a DDP model's group under the GIL; one in twenty then waited for a thread that wanted it."""
    ports = list(islice(filter(free, range(20_000 + os.getpid() % 10_000, 32_000)), 60))
    assert trainee.ask({"leave": ports, "ranks": 2, "limit": 200})["codes"] == [0, 0]
