"""A split that was published with the data: it is taken as it stands, or refused by the row that names no part."""

import hashlib
import json
from dataclasses import asdict

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as options
from hypothesis import strategies as st

from airloom.cache.manifest import read_snapshot
from airloom.contracts import DatasetVersion
from airloom.datasets import commit as commits
from airloom.datasets import edit, versions
from airloom.datasets.commit import commit
from airloom.datasets.equal_inputs import rows_apart, rows_by_part
from airloom.datasets.ingest import from_table, open_source
from airloom.datasets.open_rows import open_rows
from airloom.datasets.snapshots import snapshot
from airloom.datasets.snapshots.split import Published
from airloom.datasets.storage.part_names import NAMES, names_of
from airloom.datasets.storage.schema import Layout
from airloom.datasets.storage.store import Store
from airloom.datasets.validation.validate import Report
from airloom.errors import ConfigError, DataError
from airloom.pipeline.steps.resolve import snapshot_of
from airloom.spec.dataset import DatasetSection

TABLE = Layout("tabular", label="late", split="part", parts=names_of({}))
PLAIN = Layout("tabular", label="late")


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


def table(*rows):
    return pa.Table.from_pylist([{"hour": hour, "part": part, "late": hour % 2 == 0} for hour, part in rows])


def put(settings, rows, layout=TABLE, dataset="d", **more):
    return commit(settings, dataset, from_table(table(*rows), layout), message="m", **more)


def hours(settings, asked):
    data = snapshot.open_snapshot(settings, asked)
    return {name: data.table(name).column("hour").to_pylist() for name in asked.split}


PUBLISHED = [(1, "train"), (2, "test"), (3, "dev"), (4, "train"), (5, "test")]
PARTS = {"train": [1, 4], "validation": [3], "test": [2, 5]}


def test_a_dataset_knows_its_published_split_and_a_pipeline_takes_it(settings):
    version = put(settings, PUBLISHED)
    asked = snapshot_of(settings, DatasetSection(name="d"), version)
    assert hours(settings, asked) == PARTS
    assert (asked.by, asked.rows) == ("column part", {"train": 2, "validation": 1, "test": 2})
    assert snapshot_of(settings, DatasetSection(name="d", split={"column": "part"}), version).id == asked.id
    data = snapshot.open_snapshot(settings, asked)
    assert list(data.split("train")[0][0]) == ["hour"]  # no input of a model
    assert "part" not in data.frame("train") and "part" not in data.statistics("train")
    grown = put(settings, [(6, "train"), (7, "test")])
    later = snapshot.prepare(settings, grown, None)
    assert hours(settings, later) == {"train": [1, 4, 6], "validation": [3], "test": [2, 5, 7]}
    assert rows_by_part(Store(settings), versions.manifest_of(settings, grown)) == later.rows
    by_hash = {"train": 0.5, "validation": 0.25, "test": 0.25}
    assert snapshot_of(settings, DatasetSection(name="d", split=by_hash), version).by == ""


def test_a_column_that_only_the_pipeline_names_is_no_input_either_and_its_leaks_are_counted(settings):
    rows = [*PUBLISHED, (1, "test"), (4, "test")]
    version = put(settings, rows, PLAIN)
    asked = snapshot_of(settings, DatasetSection(name="d", split={"column": "part"}), version)
    assert hours(settings, asked) == PARTS | {"test": [2, 5, 1, 4]}
    assert asked.repeated == {"test": 2}
    assert list(snapshot.open_snapshot(settings, asked).split("train")[0][0]) == ["hour"]
    assert read_snapshot(asked)["by"] == "column part"
    with pytest.raises(DataError, match="no column 'prat' to tell the split; there are 'hour', 'part', 'late'"):
        snapshot_of(settings, DatasetSection(name="d", split={"column": "prat"}), version)
    with pytest.raises(DataError, match="'late' is the label of d@v1"):
        snapshot_of(settings, DatasetSection(name="d", split={"column": "late"}), version)


def test_values_of_other_names_are_given_to_their_parts(settings):
    rows = [(1, "training"), (2, "Test"), (3, "dev"), (4, "training")]
    version = put(settings, rows, PLAIN)
    split = {"column": "part", "train": ["training"], "test": ["Test"]}
    asked = snapshot_of(settings, DatasetSection(name="d", split=split), version)
    assert hours(settings, asked) == {"train": [1, 4], "validation": [3], "test": [2]}
    with pytest.raises(DataError, match=r"row 0 of d@v1, column 'part': 'training' names no part") as refusal:
        snapshot_of(settings, DatasetSection(name="d", split={"column": "part"}), version)
    assert "train: 'train'; validation: 'dev', 'val', 'valid', 'validation'; test: 'test'" in refusal.value.hint
    numbers = list(range(40))
    truths = pa.table({"hour": numbers, "held": [hour % 2 == 1 for hour in numbers], "late": [True] * 40})
    version = commit(settings, "t", from_table(truths, PLAIN), message="m")
    split = {"column": "held", "train": [False], "validation": 0.5, "test": [True]}
    asked = snapshot_of(settings, DatasetSection(name="t", split=split), version)
    assert hours(settings, asked)["test"] == numbers[1::2]


def test_a_value_that_names_no_part_is_refused_at_the_commit_by_file_row_column_and_value(settings, tmp_path):
    path = tmp_path / "flights.csv"
    path.write_text("hour,part,late\n1,train,0\n2,holdout,1\n")
    with pytest.raises(DataError, match=r"flights\.csv: row 3 of column 'part': 'holdout' names no part of the split"):
        open_source(path, split="part").to_table()
    path.write_text("hour,part,late\n1,train,0\n2,,1\n")
    with pytest.raises(DataError, match=r"flights\.csv: row 3 of column 'part': is empty"):
        open_source(path, split="part").to_table()
    with pytest.raises(DataError, match="no column 'prat' to be the split"):
        open_source(path, split="prat")
    with pytest.raises(DataError, match="column 'late' cannot be the label and tell the split"):
        open_source(path, split="late", label="late")
    with pytest.raises(DataError, match="'f' is double; a split is told by text"):
        from_table(pa.table({"x": [1], "f": [0.5]}), Layout("tabular", split="f", parts=names_of({})))


def test_the_split_column_of_a_dataset_stays_as_it_is(settings, tmp_path):
    put(settings, PUBLISHED)
    path = tmp_path / "more.csv"
    path.write_text("hour,part,late\n8,train,true\n")
    assert open_rows(settings, "d", path).layout == TABLE
    with pytest.raises(DataError, match="d has the split 'part', not 'hour'"):
        open_rows(settings, "d", path, split="hour")
    with pytest.raises(DataError, match="d has the parts"):
        open_rows(settings, "d", path, parts={"test": ["holdout"]})
    with pytest.raises(ConfigError, match="no column that tells the split"):
        open_rows(settings, "new", path, parts={"test": ["holdout"]})
    with pytest.raises(DataError, match="split: 'none' instead of 'part'"):
        put(settings, [(9, "train")], PLAIN)


def test_without_a_validation_part_a_share_of_train_is_taken_or_the_hint_says_how(settings):
    rows = [(hour, "test" if hour % 5 == 0 else "train") for hour in range(400)]
    version = put(settings, rows)
    with pytest.raises(DataError, match="by column part of d@v1 has no rows of validation") as refusal:
        snapshot_of(settings, DatasetSection(name="d"), version)
    assert "split: {column: part, validation: 0.1}" in refusal.value.hint
    section = DatasetSection(name="d", split={"column": "part", "validation": 0.25})
    asked = snapshot_of(settings, section, version)
    assert asked.rows["test"] == 80 and 50 < asked.rows["validation"] < 110
    assert asked.rows["train"] + asked.rows["validation"] == 320
    before = hours(settings, asked)
    grown = put(settings, [(1000, "train"), (1001, "test")])
    after = hours(settings, snapshot_of(settings, section, grown))
    assert all(set(before[name]) <= set(after[name]) for name in before)  # nothing moves
    with pytest.raises(DataError, match="no rows of test"):
        snapshot.prepare(settings, put(settings, [(1, "train"), (2, "val")], dataset="e"), None)


def test_tags_of_commits_tell_a_published_split(settings):
    put(settings, [(1, "a"), (2, "a")], PLAIN, tags=["part=train"])
    put(settings, [(3, "a")], PLAIN, tags=["part=dev", "x"])
    version = put(settings, [(4, "a")], PLAIN, tags=["part=test"])
    tags = {"train": ["part=train"], "validation": ["part=dev"], "test": ["part=test"]}
    asked = snapshot_of(settings, DatasetSection(name="d", split={"tags": tags}), version)
    assert hours(settings, asked) == {"train": [1, 2], "validation": [3], "test": [4]}
    assert asked.by == "tags"
    version = put(settings, [(5, "a")], PLAIN)
    with pytest.raises(DataError, match="the 1 rows that v4 of d brought have no tag: no part of the split"):
        snapshot_of(settings, DatasetSection(name="d", split={"tags": tags}), version)
    both = tags | {"test": ["part=test", "x"]}
    with pytest.raises(DataError, match=r"v2 of d brought have part=dev, x: validation and test"):
        snapshot_of(settings, DatasetSection(name="d", split={"tags": both}), version)
    with pytest.raises(ConfigError, match="'part=dev' names both"):
        snapshot_of(settings, DatasetSection(name="d", split={"tags": tags | {"test": ["part=dev"]}}), version)


def test_equal_inputs_in_two_parts_are_counted_or_refused_by_rule_and_never_moved(settings, notes):
    put(settings, PUBLISHED)
    second = put(settings, [(1, "test"), (2, "test"), (9, "train")])
    manifest = versions.manifest_of(settings, second)
    assert manifest.changed == {"added": 3, "deleted": 0, "in_another_part": 1}
    assert notes[-1].startswith("Equal inputs: 1 of 3 rows have the inputs of a row in another part: they stay")
    assert snapshot.prepare(settings, second, None).repeated == {"test": 1}
    assert rows_apart(Store(settings), manifest) == 2
    with pytest.raises(DataError, match="row 0 of the batch has those of row 3 of d@v2"):
        put(settings, [(4, "test")], equal_inputs="same_split")
    third = put(settings, [(4, "train"), (5, "test")], equal_inputs="same_split")  # in their own parts
    assert third.rows == 10
    with pytest.raises(DataError, match="row 0 of the batch has those of row 1 of d@v3"):
        put(settings, [(2, "train")])  # the dataset keeps its rule


def test_pictures_of_a_published_split_are_not_moved_to_their_equals(settings):
    layout = Layout("text", label="intent", split="part", parts=names_of({}))
    rows = [{"text": "hi", "intent": "a", "part": part} for part in ("train", "test", "val")]
    version = commit(settings, "d", from_table(pa.Table.from_pylist(rows), layout), message="m")
    asked = snapshot.prepare(settings, version, None)
    assert asked.rows == {"train": 1, "validation": 1, "test": 1}
    assert asked.repeated == {"validation": 1, "test": 1}


def test_a_corrected_part_moves_the_row(settings):
    version = put(settings, [*PUBLISHED, (8, "train")])
    data = open_rows_of(settings, [(8, "test")])
    fixed = edit.fix_rows(settings, version, [5], data, message="m")
    assert hours(settings, snapshot.prepare(settings, fixed, None)) == PARTS | {"test": [2, 5, 8]}


def open_rows_of(settings, rows):
    return from_table(table(*rows), TABLE)


def test_older_snapshots_and_records_keep_their_ids(settings):
    version = put(settings, PUBLISHED, PLAIN)
    shares = {"train": 0.6, "validation": 0.15, "test": 0.25}
    asked = snapshot.ask(settings, version, shares)
    request = {"version": version.id, "since": "", "tags": [], "split": list(shares.items())}
    assert asked.id == hashlib.sha256(json.dumps(request).encode()).hexdigest()
    assert snapshot.ask(settings, version, None).id == asked.id
    assert "by" not in read_snapshot(asked)
    old = {name: value for name, value in asdict(version).items() if name not in ("split", "parts")}
    assert DatasetVersion.from_dict(old) == version
    names = {part: Published("part", {"train": ["a"]}).rule(version)[0][part] for part in NAMES}
    assert names == {
        "train": ["a"],
        "validation": NAMES["validation"] and sorted(NAMES["validation"]),
        "test": ["test"],
    }


@options(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 6), st.sampled_from(["train", "val", "test"])), min_size=1, max_size=12))
def test_every_row_is_in_the_part_that_it_names(make_home, tmp_path_factory, rows):
    settings = make_home(tmp_path_factory.mktemp("home"))
    rows = [(10, "train"), (11, "val"), (12, "test"), *rows]
    version = put(settings, rows)
    asked = snapshot.prepare(settings, version, None)
    wanted = {"train": "train", "validation": "val", "test": "test"}
    assert hours(settings, asked) == {name: [h for h, part in rows if part == wanted[name]] for name in wanted}
    seen, twice = set(), {}
    for name in wanted:
        here = [h for h, part in rows if part == wanted[name]]
        twice[name] = sum(h in seen for h in here)
        seen |= set(here)
    assert asked.repeated == {name: count for name, count in twice.items() if count}
    assert np.sum(list(asked.rows.values())) == len(rows)
