"""The values of each feature that the prediction log has of a version's rows: of its inputs, answers and scores.

Columns are read by name: a log of an earlier release has no inputs and no scores, and then nothing is said of them.
"""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from airloom.monitoring.drift_reference import NUMBER, FeatureReference
from airloom.quality.by_label import BOOLEANS
from airloom.quality.reference import ANSWER, SCORE, VersionReference
from airloom.tracking.tags import Tag

if TYPE_CHECKING:
    import pyarrow as pa
    from mlflow.entities.model_registry import ModelVersion

COLUMNS = ("prediction", "value", "score", "inputs", "inputs_by")
READ = ("full", "profile")  # what `inputs_by` says where the values themselves were kept
NOT_KEPT: Final = object()  # in place of a value that nobody knows; an empty cell is None


def values_of(
    rows: "pa.Table", against: VersionReference, version: "ModelVersion"
) -> tuple[dict[str, list[Any]], list[str]]:
    """The values of each feature of the reference, row by row, and what the log has nothing of.

    Args:
        rows: of the log, as `log_columns.table` gives them.
        against: names the features.
        version: whose rows they are.
    """
    notes, values = list[str](), dict[str, list[Any]]()
    answers = {one.name: one for one in against.answers}
    if rows.num_rows and ANSWER in answers and "prediction" in rows.column_names:
        said = _answers(rows, answers[ANSWER])
        if _called_alike(said, answers[ANSWER]):
            values[ANSWER] = said
        else:
            notes.append("the server answers with other names than the test rows have: answers are not compared")
    if SCORE in answers and "score" in rows.column_names:
        cells = rows["score"].to_pylist()
        if any(cell is not None for cell in cells):
            values[SCORE] = cells
    hidden, inputs = _hidden(version), _inputs(rows)
    if any(row is not None for row in inputs):
        for one in against.features:
            if one.name not in hidden and any(row is not None and one.name in row for row in inputs):
                values[one.name] = [NOT_KEPT if row is None else row.get(one.name) for row in inputs]
        if against.features and not {*values} - {ANSWER, SCORE}:
            notes.append("of the kept inputs none is a feature of the profile: `log: {inputs: profile}` keeps those")
    elif rows.num_rows and against.features:
        notes.append("the log keeps no inputs of this version: `log: {inputs: profile}` in its pipeline file does")
    return values, notes


def _answers(rows: "pa.Table", reference: FeatureReference) -> list[Any]:
    texts = rows["prediction"].to_pylist()
    numbers = rows["value"].to_pylist() if "value" in rows.column_names else [None] * len(texts)
    if reference.kind == NUMBER:
        return numbers
    # A class that is a boolean was logged as Python writes it, and has a number beside it; a text has none.
    return [
        BOOLEANS.get(text, text) if number is not None else text for text, number in zip(texts, numbers, strict=True)
    ]


def _called_alike(said: Sequence[Any], reference: FeatureReference) -> bool:
    """Whether any answer is a class of the reference: a model may answer with labels of its own."""
    return reference.kind == NUMBER or not {*reference.categories}.isdisjoint(said)


def _inputs(rows: "pa.Table") -> list[Mapping[str, Any] | None]:
    """What was kept of each row by column; None where its values were not."""
    if "inputs" not in rows.column_names:
        return [None] * rows.num_rows
    texts = rows["inputs"].to_pylist()
    by = rows["inputs_by"].to_pylist() if "inputs_by" in rows.column_names else ["full"] * len(texts)
    return [_parsed(text) if text and how in READ else None for text, how in zip(texts, by, strict=True)]


def _parsed(text: str) -> Mapping[str, Any] | None:
    try:
        row = json.loads(text)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None


def _hidden(version: "ModelVersion") -> set[str]:
    """The columns of which the log keeps a hash or nothing."""
    try:
        policy = json.loads(version.tags.get(Tag.LOG) or "{}")
    except ValueError:
        return set()
    return {*policy.get("drop", ()), *policy.get("hash", ())} if isinstance(policy, dict) else set()
