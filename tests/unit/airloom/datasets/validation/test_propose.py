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

    def run(good, other, label="", type="tabular"):
        path = tmp_path / "drafts" / f"{RANDOM.integers(10**9)}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(propose.propose("pets", good, label, type=type)))
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


@pytest.mark.parametrize("spoil", [set_to(np.nan), wrong_label])
def test_spoiled_images_fail(against, spoil):
    assert against(images(), images(), "label", "image").warned == []
    report = against(images(), images(spoil), "label", "image")
    assert not report.passed
    assert " in row 3" in report.failed[0]


def test_a_black_image_is_a_warning(against):
    report = against(images(), images(set_to(0)), "label", "image")
    assert report.passed and report.warned[0].startswith("mean_intensity: expect_column_values_to_be_between")


def test_images_of_another_size_fail(against):
    other = get_type("image").profile(
        image_table(np.full((9, 1, 5, 5), 0.3), np.arange(9)), Layout("image", label="label")
    )
    assert any(line.startswith("pixels:") for line in against(images(), other, "label", "image").failed)


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
        {"age": pa.array([None] * 49 + [30], pa.int64())},
        {"price": pa.array([float("nan")] * 50)},
        {"price": pa.array(["1.5"] * 50)},
        {"note": pa.array([None] * 50, pa.string())},
        {"note": pa.array([""] * 50)},
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
    failed = against(table(), table().drop(columns="age"), "label").failed
    assert any(line.startswith("age: expect_column_to_exist") for line in failed)


@pytest.mark.parametrize(
    "changes",
    [{"age": pa.array([4000] * 50)}, {"age": pa.array([-3] * 50)}, {"note": pa.array(["x" * 900] * 50)}],
    ids=["high", "low", "long"],
)
def test_values_out_of_the_range_seen_warn(against, changes):
    report = against(table(), table(**changes), "label")
    assert report.passed
    assert any(line.startswith(next(iter(changes))) and "between" in line for line in report.warned)


def test_the_next_month_passes_and_warns(against):
    january, february = (
        table(month=pa.array([month] * 50), day=pa.array([day % 31 + 1 for day in range(50)])) for month in (1, 3)
    )
    report = against(january, february, "label")
    assert report.passed and any(line.startswith("month:") for line in report.warned)


def texts(count, classes, empty=()):
    random = np.random.default_rng(7)
    words = [" ".join("word" for _ in range(n)) for n in random.integers(1, 30, count)]
    rows = {"text": ["" if n in empty else text for n, text in enumerate(words)]}
    rows["label"] = [f"intent {n}" for n in random.integers(0, classes, count)]
    layout = Layout("text", label="label")
    return get_type("text").profile(from_table(pa.table(rows), layout).to_table(), layout)


@pytest.mark.parametrize("classes", [5, 80])
def test_the_other_half_of_the_same_texts_passes(against, classes):
    """Also where a class is so rare that one half has it only once, and the other has classes that this one lacks."""
    whole = texts(400, classes)
    first, second = whole.iloc[::2].reset_index(drop=True), whole.iloc[1::2].reset_index(drop=True)
    assert against(first, second, "label", "text").failed == []
    assert against(second, first, "label", "text").failed == []


def test_empty_texts_fail(against):
    report = against(texts(100, 3), texts(100, 3, empty=[17]), "label", "text")
    assert {line.split(":")[0] for line in report.failed} == {"characters", "words"}
    own = texts(100, 3, empty=[17])
    report = against(own, own, "label", "text")  # a draft passes its own rows, and says what is odd about them
    assert report.passed and {line.split(":")[0] for line in report.warned} == {"characters", "words"}


def test_whole_numbers_that_a_float_does_not_hold_pass_and_do_not_warn(against):
    for first in (2**63, 2**53 - 3, -(2**62)):
        kind = pa.uint64() if first > 0 else pa.int64()
        rows = table(number=pa.array([first + n for n in range(50)], kind))
        report = against(rows, rows, "label")
        assert report.passed and report.warned == []


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


@pytest.mark.parametrize("kind", ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32"])
def test_numbers_of_every_width_with_and_without_empty_cells_pass_each_others_draft(against, kind):
    whole, gaps = (table(number=pa.array(values * 10, kind)) for values in ([1, 2, 3, 4, 5], [1, 2, None, 4, 5]))
    for good, other in ((whole, whole), (gaps, gaps), (gaps, whole)):
        assert against(good, other, "label").failed == []


@pytest.mark.matrix("count", [40], sample=[6])
def test_any_data_pass_their_own_draft(against, count):
    @examples(max_examples=count, deadline=None)
    @given(columns, st.booleans())
    def try_them(values, is_label):
        layout = Layout("generic")
        typed = from_table(pa.table({"a": pa.array(values), "b": [1] * len(values)}), layout).to_table()
        if values.count(None) == len(values):
            return  # a tabular column without any value has no type
        profile = get_type("tabular").profile(typed, layout)[["a"]]
        for kind in ("tabular", "text"):
            assert against(profile, profile, "a" if is_label else "", kind).failed == []

    try_them()


def test_the_draft_is_a_suite_of_great_expectations_and_says_its_margin(settings, tmp_path):
    import great_expectations as gx

    settings = replace(settings, project=tmp_path)
    path = propose.write(settings, "pets", propose.propose("pets", images(), "label", margin=0.25, type="image"))
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
