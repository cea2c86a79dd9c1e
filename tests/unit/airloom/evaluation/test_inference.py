"""What a stored model answers to the test rows."""

import numpy as np
import pytest

from airloom.errors import GateError
from airloom.evaluation.inference import judge


@pytest.mark.parametrize("labels", [["0"] * 6, np.zeros(6)], ids=["classes", "numbers"])
def test_answers_that_are_not_finite_are_no_answers(small, labels):
    """The largest score of a row with a NaN would be its class."""
    trained = small.train(small.ctx())
    rows = np.zeros((6, 1, 8, 8), np.float32)
    rows[2, 0, 0, 0] = rows[5, 0, 1, 1] = np.nan
    with pytest.raises(GateError, match=r"no finite answer to 2 of 6 rows, among them 2, 5"):
        judge(small.settings, trained.model_uri, trained.digests, rows, labels, 1)


def test_finite_answers_are_judged(small):
    trained = small.train(small.ctx())
    rows = np.eye(64, dtype=np.float32)[:6].reshape(6, 1, 8, 8)
    judged = judge(small.settings, trained.model_uri, trained.digests, rows, list("012345"), 1)
    assert judged.answers.predicted.tolist() == [0, 1, 2, 3, 4, 5]
