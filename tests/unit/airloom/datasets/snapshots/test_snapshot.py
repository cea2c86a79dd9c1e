"""Which rows a training reads."""

import json
import os
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from airloom.datasets import versions
from airloom.datasets.commit import commit
from airloom.datasets.compact import compact
from airloom.datasets.edit import delete_rows
from airloom.datasets.ingest import from_table
from airloom.datasets.snapshots import snapshot
from airloom.datasets.storage.schema import Layout
from airloom.errors import ConfigError, CorruptFile, DataError
from airloom.settings import Settings

PROJECT = Path(__file__).resolve().parents[5]
SPLIT = {"train": 0.6, "validation": 0.15, "test": 0.25}


def rows(table):
    return sorted(map(str, table.to_pylist()))


def commit_three(settings, batch):
    """Versions 1 to 3 with 30 rows each, tagged left, right, and left and dark."""
    for number, tags in enumerate((["left"], ["right"], ["left", "dark"]), 1):
        commit(settings, "digits", batch(number, 30), message=str(number), tags=tags)
    return versions.latest(settings, "digits")


@pytest.fixture(scope="module")
def committed(tmp_path_factory, batch):
    """A home with the three versions, and a copy of it."""
    folder = tmp_path_factory.mktemp("three")
    settings = Settings(home=folder / "a home", project=PROJECT)
    commit_three(settings, batch)
    shutil.copytree(settings.home, folder / "copy", symlinks=True)
    return settings, folder / "copy"


@pytest.fixture
def settings(committed):
    """That home as it was; DVC's configuration has its path, so it lies in the same place for all tests."""
    settings, copy = committed
    shutil.rmtree(settings.home)
    shutil.copytree(copy, settings.home, symlinks=True)
    return settings


@pytest.fixture
def three(settings):
    return versions.latest(settings, "digits")


@pytest.fixture
def own(tmp_path, batch):
    """A home of the test's own, and version 3: processes in the background may write to it after the test.

    This process also keeps the shards that it has opened, by their path.
    """
    settings = Settings(home=tmp_path / "a home", project=PROJECT)
    return settings, commit_three(settings, batch)


def table(settings, made):
    opened = snapshot.open_snapshot(settings, made)
    return pa.concat_tables([opened.table(name) for name in made.split])


def test_the_same_request_is_the_same_snapshot(settings, three):
    first = snapshot.prepare(settings, three, SPLIT, tags=["left", "!dark"])
    assert first == snapshot.prepare(settings, three, dict(reversed(SPLIT.items())), tags=["!dark", "left"])
    others = [
        snapshot.prepare(settings, three, SPLIT),
        snapshot.prepare(settings, three, SPLIT, since=1),
        snapshot.prepare(settings, three, {"train": 0.5, "test": 0.5}, tags=["left", "!dark"]),
        snapshot.prepare(settings, versions.get(settings, "digits", 2), SPLIT, tags=["left", "!dark"]),
    ]
    assert len({first.id, *(other.id for other in others)}) == 5


@pytest.mark.parametrize(
    ("asked", "batches"),
    [
        ({}, (1, 2, 3)),
        ({"since": 1}, (2, 3)),
        ({"tags": ["left"]}, (1, 3)),
        ({"tags": ["left", "dark"]}, (3,)),
        ({"tags": ["!dark"]}, (1, 2)),
        ({"since": 1, "tags": ["left"]}, (3,)),
    ],
)
def test_rows_are_chosen_by_range_and_tags(settings, three, batch, asked, batches):
    made = snapshot.prepare(settings, three, SPLIT, **asked)
    assert rows(table(settings, made)) == rows(pa.concat_tables([batch(n, 30) for n in batches]))
    assert sum(made.rows.values()) == 30 * len(batches)


def test_rows_keep_their_split_through_every_filter(settings, three):
    whole = snapshot.open_snapshot(settings, snapshot.prepare(settings, three, SPLIT))
    part = snapshot.open_snapshot(settings, snapshot.prepare(settings, three, SPLIT, tags=["left"]))
    for name in SPLIT:
        assert set(rows(part.table(name))) <= set(rows(whole.table(name)))


def test_what_cannot_be_chosen_is_said(settings, three):
    with pytest.raises(DataError, match="no rows since version 0 with tags nobody"):
        snapshot.prepare(settings, three, SPLIT, tags=["nobody"])
    with pytest.raises(ConfigError, match="since is 0 to 2"):
        snapshot.prepare(settings, three, SPLIT, since=3)
    with pytest.raises(ConfigError, match="sum to 1"):
        snapshot.prepare(settings, three, {"train": 0.5})
    made = snapshot.prepare(settings, three, SPLIT)
    with pytest.raises(ConfigError, match="has no split 'tests'"):
        snapshot.open_snapshot(settings, made).split("tests")
    with pytest.raises(DataError, match="no snapshot"):
        snapshot.fetch(settings, "0" * 64)
    for bad in ("", "../x", "0" * 63, "G" * 64):
        with pytest.raises(DataError, match="no id of a snapshot"):
            snapshot.record(settings, bad)


def test_a_prepared_snapshot_in_the_background_becomes_ready_with_statistics(own):
    settings, three = own
    asked = snapshot.ask(settings, three, SPLIT, tags=["left"])
    assert snapshot.start(settings, asked) == "RUNNING"
    made = snapshot.fetch(settings, asked.id, timeout=200)
    assert sum(made.rows.values()) == 60
    end = time.monotonic() + 120
    while "statistics" not in snapshot.record(settings, asked.id) and time.monotonic() < end:
        time.sleep(0.1)
    counted = snapshot.record(settings, asked.id)["statistics"]["train"]["label"]
    assert counted["rows"] == made.rows["train"]
    assert snapshot.start(settings, asked) == "READY"


def test_a_preparation_that_fails_or_dies_says_so_and_can_be_asked_again(own):
    settings, three = own
    asked = snapshot.ask(settings, three, SPLIT, tags=["nobody"])
    snapshot.start(settings, asked)
    with pytest.raises(DataError, match=r"failed.*no rows"):
        snapshot.fetch(settings, asked.id, timeout=200)
    good = snapshot.ask(settings, three, SPLIT)
    snapshot.start(settings, good)
    os.kill(snapshot.record(settings, good.id)["process"][0], signal.SIGKILL)
    end = time.monotonic() + 60
    while snapshot.record(settings, good.id)["state"] == "RUNNING" and time.monotonic() < end:
        time.sleep(0.05)
    found = snapshot.record(settings, good.id)
    if found["state"] == "FAILED":
        assert "without a result" in found["error"]
    snapshot.start(settings, good)
    assert snapshot.fetch(settings, good.id, timeout=200).rows == snapshot.prepare(settings, three, SPLIT).rows


def test_another_home_prepares_the_same_rows_from_the_record(settings, three, batch, tmp_path):
    made = snapshot.prepare(settings, three, SPLIT)
    other = replace(settings, home=tmp_path / "other")
    commit_three(other, batch)
    there = snapshot.open_snapshot(other, made)
    for name in SPLIT:
        assert there.table(name).equals(snapshot.open_snapshot(settings, made).table(name))


def test_a_version_whose_content_changed_is_refused(settings, three):
    made = snapshot.prepare(settings, three, SPLIT)
    forged = json.loads(json.dumps(made.to_dict())) | {"version_id": "0" * 64, "id": "1" * 64}
    with pytest.raises(CorruptFile, match="the snapshot was made of 000000000000"):
        snapshot.open_snapshot(settings, type(made).from_dict(forged))


def test_missing_shards_are_fetched_with_progress(own):
    settings, three = own
    made = snapshot.prepare(settings, three, SPLIT)
    opened = snapshot.open_snapshot(settings, made)
    for path in (settings.dvc_cache / "files").rglob("*"):
        if path.is_file():
            path.chmod(0o644)
            path.unlink()
    told = []
    opened.fetch(lambda done, total: told.append((done, total)))
    assert len(told) == 3
    assert told[-1][0] == told[-1][1] > 0
    inputs, labels = next(iter(opened.loader("train", 16)))
    assert inputs.shape == (16, 1, 8, 8) and labels.shape == (16,)


@pytest.fixture
def lenient(settings, tmp_path):
    """A project whose datasets `mail` and `flights` take any rows."""
    suite = {
        "name": "t",
        "expectations": [{"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}}],
    }
    (tmp_path / "project" / "configs" / "expectations").mkdir(parents=True)
    for name in ("mail", "flights"):
        (tmp_path / "project" / "configs" / "expectations" / f"{name}.json").write_text(json.dumps(suite))
    return replace(settings, project=tmp_path / "project")


def test_a_column_with_an_empty_cell_has_one_type_in_every_batch_of_every_split(lenient):
    def flights(first, late):
        return pa.table({"flight": range(first, first + 60), "miles": range(first, first + 60), "late": late})

    def types(version):
        """Of the columns, of each batch and of each split as a whole; and these."""
        opened = snapshot.open_snapshot(lenient, snapshot.prepare(lenient, version, SPLIT))
        batches = [inputs for name in SPLIT for inputs, _ in opened.loader(name, 7)]
        batches += [opened.tensors(name)[0] for name in SPLIT]
        return {(str(batch["miles"].dtype), str(batch["late"].dtype)) for batch in batches}, batches

    whole = flights(0, [n % 5 for n in range(60)])
    made = commit(lenient, "flights", from_table(whole, Layout("tabular", key="flight")), message="whole")
    assert types(made)[0] == {("torch.int64", "torch.int64")}
    gaps = flights(60, [None if n == 8 else n for n in range(60)])
    gapped = commit(lenient, "flights", from_table(gaps, Layout("tabular", key="flight")), message="gaps")
    found, batches = types(gapped)
    assert found == {("torch.int64", "torch.float64")}
    assert sum(int(batch["late"].isnan().sum()) for batch in batches) == 2  # once by a loader, once by `tensors`
    left = delete_rows(lenient, gapped, [68], message="the empty one")
    assert types(left)[0] == types(compact(lenient, "flights")[0])[0] == {("torch.int64", "torch.int64")}


def test_text_labels_are_numbered_alike_in_every_split(lenient):
    texts = pa.table(
        {"text": [f"mail {n}" for n in range(60)], "label": [("spam", "ham", "eggs")[n % 3] for n in range(60)]}
    )
    made = commit(lenient, "mail", from_table(texts, Layout("text", label="label")), message="m")
    opened = snapshot.open_snapshot(lenient, snapshot.prepare(lenient, made, SPLIT))
    for name in SPLIT:
        inputs, labels = opened.tensors(name)
        wanted = {text: label for text, label in zip(*(column.to_pylist() for column in texts.columns), strict=True)}
        assert [("eggs", "ham", "spam")[number] for number in labels] == [wanted[text] for text in inputs]
