"""The columns of the answers have one type in every part, whatever a part happens to hold."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from airloom.lineage.batches import BatchRecord
from airloom.prediction.rows import Given, table, type_of

RECORD = BatchRecord("digits", "3", "digits@v1", "c0de", "", 3, 3, 1_700_000_000_000)


def model(*classes: object) -> SimpleNamespace:
    return SimpleNamespace(name="digits", version="3", known_classes=list(classes), classes=lambda _: list(classes))


@pytest.mark.parametrize(
    ("classes", "first", "kind"),
    [
        ((3, 5), [3], pa.int64()),
        (("a", "b"), ["a"], pa.string()),
        ((True, False), [True], pa.bool_()),
        ((3, "(output 1)"), [3], pa.string()),
        ((), [0.5, 1.0], pa.float64()),
        (("a", "b"), [["a"], []], pa.list_(pa.string())),
        ((), [[0.5, 1.0]], pa.list_(pa.float64())),
    ],
)
def test_the_type_is_that_of_the_classes_else_of_the_first_answers(classes, first, kind) -> None:
    assert type_of(model(*classes), Given(first)) == kind


def test_classes_of_two_types_are_text_and_scores_have_their_names() -> None:
    given = Given([3, "(output 1)", 3], [np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([[0.7, 0.3]])])
    beside = pa.table({"who": ["x", "y", "z"]})
    made = table(RECORD, model(3, "(output 1)"), pa.string(), np.array([0, 1, 2]), given, beside)
    assert made.column("prediction").to_pylist() == ["3", "(output 1)", "3"]
    assert made.column("scores").to_pylist()[1] == {"3": 0.2, "(output 1)": 0.8}
    assert made.column("who").to_pylist() == ["x", "y", "z"]
    assert made.column("model").to_pylist() == ["digits/3"] * 3


@pytest.mark.parametrize("row", [0, 1, 2, 3, 10**9])
def test_an_id_is_taken_for_a_row_that_the_version_had_and_for_no_other(row: int) -> None:
    (made,) = RECORD.ids([row])
    assert RECORD.row_of(made) == (row if row < RECORD.of else None)
    for other in ({"content": "other"}, {"time": RECORD.time + 1}, {"version": "4"}, {"model": "letters"}):
        assert RECORD.with_(**other).row_of(made) is None
