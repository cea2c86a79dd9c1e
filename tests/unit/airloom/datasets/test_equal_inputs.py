"""Rows with the same inputs: taken, put together, refused or left out, and found without reading all that is there."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as options
from hypothesis import strategies as st

from airloom.datasets import commit as commits
from airloom.datasets import edit, versions
from airloom.datasets.commit import commit
from airloom.datasets.equal_inputs import rows_apart
from airloom.datasets.ingest import from_table
from airloom.datasets.read import read
from airloom.datasets.snapshots import snapshot
from airloom.datasets.storage import lookup
from airloom.datasets.storage.chain import Chain
from airloom.datasets.storage.index import Index
from airloom.datasets.storage.manifest import Shard, VersionManifest
from airloom.datasets.storage.rows import VersionRows
from airloom.datasets.storage.schema import Layout
from airloom.datasets.storage.store import Store
from airloom.datasets.validation.validate import Report
from airloom.errors import ConfigError, DataError, NothingChanged
from airloom.settings import Settings

TEXTS = Layout("text", label="intent", key="id")
TABLE = Layout("tabular", label="late", key="flight")
SPLIT = {"train": 0.5, "test": 0.5}


@pytest.fixture(autouse=True)
def notes(monkeypatch):
    """What validation was told to say; Great Expectations itself takes its time, and is tested elsewhere."""
    noted = []

    def validate(settings, dataset, profile, suite=None, note="", after=""):
        noted.append(note)
        return Report(True, str(settings.home / "report.html"), "")

    for module in (commits, edit):
        monkeypatch.setattr(module, "validate", validate)
    return noted


def texts(*rows):
    return from_table(pa.Table.from_pylist([{"id": key, "text": text, "intent": "hello"} for key, text in rows]), TEXTS)


def flights(first, *hours):
    rows = [{"flight": first + place, "hour": hour, "late": False} for place, hour in enumerate(hours)]
    return from_table(pa.Table.from_pylist(rows), TABLE)


def put(settings, data, dataset="d", **more):
    return commit(settings, dataset, data, message="m", **more)


def anchors(settings, version):
    rows = VersionRows(Store(settings), versions.manifest_of(settings, version)).all()
    return [anchor.tobytes() for anchor in rows.anchor]


def changed(settings, version):
    return versions.manifest_of(settings, version).changed


def test_a_table_grows_by_rows_alike_and_says_how_many_could_be_in_two_splits(settings, notes):
    put(settings, flights(0, 7, 7, 8))
    second = put(settings, flights(100, 7, 9))
    assert second.rows == 5
    assert changed(settings, second) == {"added": 2, "deleted": 0, "apart_from_equals": 1}
    assert notes[0] == (
        "Equal inputs: 1 of 3 rows have the inputs of a row with another key: "
        "they are taken, and may stand in another split than that row."
    )
    assert notes[1].startswith("Equal inputs: 1 of 2 rows")
    manifest = versions.manifest_of(settings, second)
    assert rows_apart(Store(settings), manifest) == 3
    elsewhere = replace(settings, home=settings.home / "fresh")
    assert rows_apart(Store(elsewhere), manifest) is None
    made = snapshot.prepare(settings, second, SPLIT)
    data = snapshot.open_snapshot(settings, made)
    train, test = (data.table(name).column("hour").to_pylist() for name in SPLIT)
    assert made.repeated == ({"test": twice} if (twice := sum(hour in train for hour in test)) else {})


def test_equal_texts_stand_in_one_split_whatever_their_keys_say(settings, notes):
    first = put(settings, texts((1, "hi"), (2, "hi"), (3, "bye")))
    one, two, three = anchors(settings, first)
    assert one == two != three
    second = put(settings, texts((4, "bye"), (5, "new"), (6, "hi"), (7, "new")))
    four, five, six, seven = anchors(settings, second)[3:]
    assert (four, six, seven) == (three, one, five)
    assert changed(settings, second) == {"added": 4, "deleted": 0, "placed_with_equals": 3}
    assert notes[1] == (
        "Equal inputs: 3 of 4 rows have the inputs of a row with another key: they stand where that row stands."
    )
    assert snapshot.prepare(settings, second, SPLIT).repeated == {}
    after = edit.fix_rows(settings, second, [4], texts((5, "bye")), message="a corrected text goes to its equals")
    assert anchors(settings, after) == [one, two, three, three, one, five, three]


def test_a_change_of_some_rows_does_not_judge_the_others(settings):
    """In a version with equal inputs under two keys, which older ones may be."""
    first = put(settings, texts((1, "hi"), (2, "hi"), (3, "bye")), equal_inputs="allow")
    before = anchors(settings, first)
    assert before[0] != before[1]
    put(settings, texts((4, "hello")), equal_inputs="refuse")
    last = edit.delete_rows(settings, versions.latest(settings, "d"), [3], message="m")
    last = edit.fix_rows(settings, last, [2], texts((3, "good bye")), message="another row")
    last = edit.fix_rows(settings, last, [1], texts((9, "hi")), message="another key, the same text")
    assert sorted(anchors(settings, last)) == sorted(before)
    with pytest.raises(DataError, match=r"1 rows have those of another: row 0 of the batch has those of row 0 of d@v5"):
        edit.fix_rows(settings, last, [1], texts((3, "hi")), message="m")


def test_a_dataset_that_refuses_equal_inputs_names_all_pairs_at_once_and_remembers_it(settings):
    put(settings, flights(0, *range(30)), equal_inputs="refuse")
    with pytest.raises(DataError) as refused:
        put(settings, flights(100, 50, 4, 50, *range(5, 29)))
    assert (
        "26 rows have those of another: row 1 of the batch has those of row 4 of d@v1; row 2 of the batch has those "
        "of row 0 of the batch; row 3 of the batch has those of row 5 of d@v1" in refused.value.message
    )
    assert refused.value.message.endswith("and 6 more")
    file = refused.value.hint.split("all pairs are in ")[1].split(";")[0]
    lines = Path(file).read_text().splitlines()
    assert len(lines) == 27 and lines[-1] == "row 26 of the batch,row 28 of d@v1"
    assert versions.latest(settings, "d").number == 1
    second = put(settings, flights(100, 50, 4, 50, *range(5, 29)), drop_duplicates=True)
    assert second.rows == 31 and changed(settings, second) == {"added": 1, "deleted": 0, "left_out": 26}
    assert read(settings, second).column("hour").to_pylist() == [*range(30), 50]
    with pytest.raises(NothingChanged, match="every row are there already"):
        put(settings, flights(200, 3, 4), drop_duplicates=True)
    assert put(settings, flights(300, 3), equal_inputs="allow").rows == 32
    with pytest.raises(ConfigError, match=r"'most' is not known\n  -> one of allow, same_split, refuse"):
        put(settings, flights(400, 60), equal_inputs="most")


def test_statistics_are_of_the_rows_that_were_not_left_out(settings):
    first = put(settings, flights(0, 1, 1, 5), drop_duplicates=True)
    (shard,) = versions.manifest_of(settings, first).shards
    assert (shard.live, shard.statistics["hour"]["mean"]) == (2, 3)
    assert first.id == put(settings, from_table(read(settings, first), TABLE), "other").id


MANIFEST = VersionManifest(
    "d", 1, "", TEXTS, "", [], Chain(), message="m", author="a", created="2026-01-01", cut_bits=1
)


class Counted(VersionRows):
    """Counts the indices that are read."""

    read = 0

    def index(self, shard):
        self.read += 1
        return super().index(shard)


@options(max_examples=30, deadline=None)
@given(
    st.lists(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=6), min_size=1, max_size=4),
    st.lists(st.integers(0, 8), max_size=5),
)
def test_the_first_live_row_is_found_as_a_scan_finds_it(tmp_path_factory, shards, wanted):
    store = Store(Settings(home=tmp_path_factory.mktemp("home")))

    def digests(values, width=16, salt=0):
        # Equal in the eight bytes that are searched, two by two.
        rows = [[value // 2] * 8 + [value] * (width - 8 - 1) + [salt] for value in values]
        return np.array(rows, np.uint8).reshape(-1, width)

    written = []
    for number, rows in enumerate(shards):
        values = [value for value, _ in rows]
        index = Index(digests(values, 32), digests(values, salt=number + 1), digests(values))
        md5, size = store.write(lambda sink, data=index.to_bytes(): sink.write(data))
        shard = Shard("0" * 32, len(rows), 0, md5, size, anchored=True)
        written.append(shard.bury(np.flatnonzero([dead for _, dead in rows])))
    rows = Counted(store, replace(MANIFEST, shards=written))
    expected = [
        next(
            ((n, p) for n, s in enumerate(shards) for p, (v, dead) in enumerate(s) if v == value and not dead), (-1, -1)
        )
        for value in wanted
    ]
    for most in (len(shards), 0):  # each index once, then none
        rows.read = 0
        found = lookup.find(store.settings, rows, digests(wanted))
        assert list(zip(found.shard.tolist(), found.place.tolist(), strict=True)) == expected
        assert [anchor[-1] for anchor in found.anchor.tolist()] == [shard + 1 for shard, _ in expected]
        # a shard that was not looked into the first time is not the second time either
        assert rows.read <= most
    for path in (store.settings.home / "data" / "lookup" / "d").glob("*"):
        path.write_bytes(b"cut")
    assert lookup.find(store.settings, rows, digests(wanted)).place.tolist() == [place for _, place in expected]
