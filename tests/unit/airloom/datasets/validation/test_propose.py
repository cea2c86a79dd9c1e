"""A drafted suite passes the data that it was drafted from, and fails data that are clearly spoiled."""

import datetime as dt
import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from airloom.datasets.ingest import from_table
from airloom.datasets.ingest.images import image_table
from airloom.datasets.storage.schema import Layout
from airloom.datasets.types import get_type
from airloom.datasets.validation import propose
from airloom.datasets.validation.validate import validate
from airloom.errors import DataError

RANDOM = np.random.default_rng(0)


@pytest.fixture
def against(settings, tmp_path):
    """Validate one profile against the draft made from another."""

    def run(good, other, label=""):
        path = tmp_path / "drafts" / f"{RANDOM.integers(10**9)}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(propose.propose("pets", good, label)))
        return validate(settings, "pets", other, path)

    return run


def images(spoil=lambda images, labels: None, rows=60):
    pixels = np.random.default_rng(1).uniform(0.1, 0.6, (rows, 1, 4, 4)).astype(np.float32)
    labels = np.arange(rows) % 10
    spoil(pixels, labels)
    return get_type("image").profile(image_table(pixels, labels), Layout("image", label="label"))


def set_to(value):
    def spoil(images, labels):
        images[3] = value

    return spoil


def wrong_label(images, labels):
    labels[3] = 17


@pytest.mark.parametrize("spoil", [set_to(np.nan), set_to(0), set_to(1), wrong_label])
def test_spoiled_images_fail(against, spoil):
    assert against(images(), images(), "label").warned == []
    report = against(images(), images(spoil), "label")
    assert not report.passed
    assert " in row 3" in report.failed[0]


def test_images_of_another_size_fail(against):
    other = get_type("image").profile(
        image_table(np.full((9, 1, 5, 5), 0.3), np.arange(9)), Layout("image", label="label")
    )
    assert any(line.startswith("pixels:") for line in against(images(), other, "label").failed)


def table(rows=50, **changes):
    columns = {
        "age": pa.array(RANDOM.integers(20, 60, rows)),
        "price": pa.array(RANDOM.uniform(1, 2, rows)),
        "town": pa.array([("Ulm", "Bonn", "Kiel")[n % 3] for n in range(rows)]),
        "note": pa.array([None if n % 5 == 0 else "x" * (5 + n % 7) + str(n) for n in range(rows)]),
        "member": pa.array([n % 2 == 0 for n in range(rows)]),
        "since": pa.array([dt.date(2020, 1, 1) + dt.timedelta(n) for n in range(rows)]),
        "label": pa.array(["yes" if n % 3 else "no" for n in range(rows)]),
    } | changes
    layout = Layout("tabular", label="label")
    return get_type("tabular").profile(from_table(pa.table(columns), layout).to_table(), layout)


def test_new_data_of_the_same_kind_pass(against):
    assert against(table(), table(), "label").failed == []


@pytest.mark.parametrize(
    "changes",
    [
        {"age": pa.array([4000] * 50)},
        {"age": pa.array([-3] * 50)},
        {"age": pa.array([None] * 49 + [30], pa.int64())},
        {"price": pa.array([float("nan")] * 50)},
        {"price": pa.array(["1.5"] * 50)},
        {"note": pa.array([None] * 50, pa.string())},
        {"note": pa.array(["x" * 900] * 50)},
        {"label": pa.array(["maybe"] * 50)},
    ],
    ids=lambda changes: f"{next(iter(changes))}",
)
def test_spoiled_tables_fail(against, changes):
    good = table()
    report = against(good, table(**changes), "label")
    assert not report.passed
    assert report.failed[0].startswith(next(iter(changes)))


def test_a_missing_column_fails(against):
    assert "not evaluated" in against(table(), table().drop(columns="age"), "label").failed[0]


def test_what_may_be_well_only_warns(against):
    towns = table(town=pa.array(["Rom"] * 50), age=pa.array([58] * 50), label=pa.array(["yes"] * 50))
    report = against(table(), towns, "label")
    assert report.passed
    assert {line.split(":")[0] for line in report.warned} == {"town", "age", "label"}


columns = st.one_of(
    st.lists(st.none() | st.integers(-(2**53), 2**53), min_size=1, max_size=9),
    st.lists(st.none() | st.floats(), min_size=1, max_size=9),
    st.lists(st.none() | st.text(max_size=9), min_size=1, max_size=9),
    st.lists(st.none() | st.booleans(), min_size=1, max_size=9),
)


@pytest.mark.matrix("count", [40], sample=[12])
def test_any_data_pass_their_own_draft(against, count):
    @examples(max_examples=count, deadline=None)
    @given(columns, st.booleans())
    def try_them(values, is_label):
        layout = Layout("generic")
        typed = from_table(pa.table({"a": pa.array(values), "b": [1] * len(values)}), layout).to_table()
        if values.count(None) == len(values):
            return  # a tabular column without any value has no type
        profile = get_type("tabular").profile(typed, layout)[["a"]]
        assert against(profile, profile, "a" if is_label else "").failed == []

    try_them()


def test_the_draft_is_a_suite_of_great_expectations_and_says_its_margin(settings, tmp_path):
    import great_expectations as gx

    settings = replace(settings, project=tmp_path)
    path = propose.write(settings, "pets", propose.propose("pets", images(), "label", margin=0.25))
    assert path == tmp_path / "configs" / "expectations" / "pets.json"
    suite = gx.ExpectationSuite(**json.loads(path.read_text()))
    assert "margin of 0.25" in suite.meta["notes"]
    assert validate(settings, "pets", images()).passed
    with pytest.raises(DataError, match=r"pets\.json already"):
        propose.write(settings, "pets", {})
    propose.write(settings, "pets", propose.propose("pets", images()), replace=True)


def test_nothing_can_be_drafted_from_nothing():
    with pytest.raises(DataError, match="no rows of pets"):
        propose.propose("pets", images().head(0))
