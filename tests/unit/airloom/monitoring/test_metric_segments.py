"""Whole columns are counted as one would count the rows; bad rows and files of other releases stop nothing."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from served.segments import MIDNIGHT, prediction, write_segment

from airloom.errors import DataError
from airloom.monitoring import metric_bins as bins
from airloom.monitoring.metric_counts import OTHERS, Cell, Place, add
from airloom.monitoring.metric_segments import read

ANSWER = st.sampled_from(
    [
        ("7", 7.0),
        ("-1", -1.0),
        ("cat", None),
        ("2.5", 2.5),
        ("nan", float("nan")),
        ("[0.1, 0.2]" * 9, None),
        ("a\0ß", None),
    ]
)


@st.composite
def rows(draw):
    """Rows, good and bad."""
    answer, value = draw(ANSWER)
    return prediction(
        time=draw(st.one_of(st.none(), st.integers(MIDNIGHT - 90_000, MIDNIGHT + 90_000), st.just(-5))),
        model=draw(st.sampled_from(["digits", "boats", None, "x" * 300, "ü"])),
        version=draw(st.sampled_from(["1", "2", None])),
        prediction=answer,
        value=value,
        latency_ms=draw(st.sampled_from([0.5, 2.0, float("nan"), -1.0])),
        rows=draw(st.sampled_from([1, 3, 0])),
        role=draw(st.sampled_from(["champion", "canary", None, "king"])),
        score=draw(st.sampled_from([0.0, 0.5, 1.0, 2.0, None])),
    )


def one_by_one(all_rows):
    counts, refused = {}, 0
    for row in all_rows:
        model, version, role = row["model"], row["version"], row.get("role") or "champion"
        if not model or len(model) > 256 or model == "ü" or not version or role == "king" or (row["time"] or -1) < 0:
            refused += 1
            continue
        cell = Cell(predictions=1)
        latency = row["latency_ms"] * row["rows"] if row["rows"] else float("nan")
        cell.latency = {int(bins.latency_bins(np.array([latency]))[0]): 1}
        if row["score"] is not None:
            cell.scores = {int(bins.score_bins(np.array([row["score"]]))[0]): 1}
        answer, value = row["prediction"], row["value"]
        if value is not None and not re.fullmatch(r"-?\d+", answer):
            cell.numbers = {int(bins.number_bins(np.array([value]))[0]): 1}
        else:
            cell.answers = {OTHERS if len(answer) > 64 else answer: 1}
        add(counts, {Place(model, version, role, row["time"] // 60_000 * 60): cell})
    return counts, refused


@given(st.lists(rows(), min_size=1, max_size=30))
@examples(deadline=None, max_examples=60)
def test_columns_are_counted_as_rows_are(tmp_path_factory, some):
    segment = read(write_segment(tmp_path_factory.mktemp("log"), some))
    assert (segment.counts, segment.refused) == one_by_one(some)


def test_a_row_of_yesterday_is_counted_in_yesterdays_minute_whatever_its_file_says(tmp_path):
    some = [prediction(at=30), prediction(at=-70)]
    counts = read(write_segment(tmp_path, some, name=f"{MIDNIGHT:012x}-{MIDNIGHT:012x}-ab.parquet")).counts
    assert {place.start * 1000 - MIDNIGHT for place in counts} == {0, -120_000}


def test_a_file_of_an_earlier_release_has_no_roles_and_no_scores(tmp_path):
    (place, cell), *_ = read(write_segment(tmp_path, [prediction()])).counts.items()
    assert (place.role, cell.scores, cell.answers) == ("champion", {}, {"7": 1})


def test_columns_that_are_missing_are_done_without(tmp_path):
    row = {name: prediction()[name] for name in ("time", "model", "version")}
    (cell,) = read(write_segment(tmp_path, [row])).counts.values()
    assert cell == Cell(predictions=1, latency={bins.NO_NUMBER: 1})


@pytest.mark.parametrize(
    ("content", "says"), [(b"PAR1nonsense", "cannot be read"), (b"", "cannot be read"), (None, "no column version")]
)
def test_a_file_that_is_none_is_named(tmp_path, content, says):
    path = write_segment(tmp_path, [{"time": MIDNIGHT, "model": "digits"}])
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=f"{path.name} .*{says}"):
        read(path)


def test_a_column_of_another_type_is_named(tmp_path):
    path = write_segment(tmp_path, [{**prediction(), "latency": "x"}])
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(path, partitioning=None)
    pq.write_table(table.set_column(0, "time", pa.array(["now"])), path)
    with pytest.raises(DataError, match="is no file of the log"):
        read(path)
