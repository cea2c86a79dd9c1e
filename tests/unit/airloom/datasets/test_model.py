"""Any sequence of operations through the real commit path, against a list of rows."""

import json
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st

from airloom.datasets import commit as commits
from airloom.datasets import edit, tag_delete, versions
from airloom.datasets.commit import commit
from airloom.datasets.compact import compact
from airloom.datasets.ingest import from_table
from airloom.datasets.read import read
from airloom.datasets.snapshots import snapshot
from airloom.datasets.storage.chain import Chain
from airloom.datasets.storage.digests import digest
from airloom.datasets.storage.schema import Layout
from airloom.datasets.validation.validate import Report
from airloom.errors import DataError, NothingChanged
from airloom.retention import dataset_objects
from airloom.retention.in_use import InUse
from airloom.retention.items import Rules
from airloom.settings import Settings

LAYOUT = Layout("generic", label="label")
SCHEMA = pa.schema([("x", pa.int64()), ("label", pa.int64())])
SPLIT = {"train": 0.5, "test": 0.5}
# Few values, so that equal rows come up, and rows with equal inputs and another label.
Values = tuple[int, int]
values = st.tuples(st.integers(0, 9), st.integers(0, 1))
tags = st.sets(st.sampled_from(["a", "b"])).map(sorted)
places = st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=3)
operations = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.lists(values, min_size=1, max_size=5), tags, st.booleans()),
        st.tuples(st.just("replace"), st.lists(values, min_size=1, max_size=6), tags),
        st.tuples(st.just("remove"), places),
        st.tuples(st.just("fix"), places, st.lists(values, min_size=3, max_size=3)),
        st.tuples(st.just("compact")),
        st.tuples(st.just("delete"), st.sampled_from([-1, -1, -2, 0])),  # most often the newest
        st.tuples(st.just("collect")),
    ),
    min_size=3,
    max_size=9,
)


@dataclass(frozen=True)
class Row:
    """What the model knows of a row: its values, whose place in the split it has, which commit brought it."""

    values: Values
    anchor: int
    version: int
    tags: tuple[str, ...]


class Refused(Exception):
    """The model's own refusal, with the words that the real one uses."""


@dataclass
class Model:
    """A dataset as lists of rows by the numbers of their versions; deleted ones are left out, their numbers stay."""

    policy: str
    versions: dict[int, list[Row]] = field(default_factory=dict)
    number: int = 0

    @property
    def rows(self) -> list[Row]:
        return self.versions[max(self.versions)] if self.versions else []

    def append(self, new: Sequence[Values], chosen: Sequence[str], drop: bool) -> list[Row]:
        if self.rows and [row.values for row in self.rows[-len(new) :]] == list(new):
            raise Refused("exactly these rows")
        fresh = self._fresh(new, chosen, self.rows, drop)
        if not fresh:
            raise Refused("the inputs of every row are there already")
        return [*self.rows, *fresh]

    def replace(self, new: Sequence[Values], chosen: Sequence[str]) -> list[Row]:
        fresh = self._fresh(new, chosen, [])
        if [row.values for row in self.rows] == list(new):
            raise Refused("exactly these rows")
        return fresh

    def remove(self, gone: Sequence[int]) -> list[Row]:
        left = [row for place, row in enumerate(self.rows) if place not in gone]
        if not left:
            raise Refused("nothing of")
        return left

    def fix(self, gone: Sequence[int], new: Sequence[Values]) -> list[Row]:
        left = [row for place, row in enumerate(self.rows) if place not in gone]
        moved = list[Row]()
        for values, old in zip(new, [self.rows[place] for place in gone], strict=True):
            twin = next((row for row in [*left, *moved] if row.values[0] == values[0]), None)
            judged = twin is not None and values[0] != old.values[0]
            if judged and self.policy == "refuse":
                raise Refused("equal inputs are refused")
            anchor = twin.anchor if judged and self.policy == "same_split" else old.anchor
            moved.append(Row(values, anchor, self.number + 1, ()))
        if [row.values for row in left + moved] == [row.values for row in self.rows]:
            raise Refused("exactly these rows")
        return left + moved

    def _fresh(
        self, new: Sequence[Values], chosen: Sequence[str], before: Sequence[Row], drop: bool = False
    ) -> list[Row]:
        fresh = list[Row]()
        for values in new:
            twin = next((row for row in [*before, *fresh] if row.values[0] == values[0]), None)
            if twin and drop:
                continue
            if twin and self.policy == "refuse":
                raise Refused("equal inputs are refused")
            anchor = twin.anchor if twin and self.policy == "same_split" else values[0]
            fresh.append(Row(values, anchor, self.number + 1, tuple(chosen)))
        return fresh

    def take(self, after: list[Row]) -> None:
        self.number += 1
        self.versions[self.number] = after


def table(rows: Sequence[Values]) -> pa.Table:
    return pa.table([[row[n] for row in rows] for n in (0, 1)], schema=SCHEMA)


def identity(rows: Sequence[Values]) -> str:
    chain, tail = Chain().extend(np.empty((0, 32), np.uint8), digest(batch_of(rows), LAYOUT).row)
    return chain.id(SCHEMA, tail)


def batch_of(rows: Sequence[Values]) -> pa.RecordBatch:
    return table(rows).combine_chunks().to_batches()[0]


@dataclass
class Real:
    """The same operations on a real home."""

    settings: Settings
    suite: Path
    policy: str = ""

    def append(self, new: Sequence[Values], chosen: Sequence[str], drop: bool) -> None:
        self._commit(new, tags=chosen, drop_duplicates=drop)

    def replace(self, new: Sequence[Values], chosen: Sequence[str]) -> None:
        self._commit(new, tags=chosen, mode="replace")

    def _commit(self, new: Sequence[Values], **options: Any) -> None:
        """The first commit says the policy; the dataset remembers it."""
        given = "" if versions.list_datasets(self.settings) else self.policy
        data = from_table(table(new), LAYOUT)
        commit(self.settings, "d", data, message="m", suite=self.suite, equal_inputs=given, **options)

    def remove(self, gone: Sequence[int]) -> None:
        edit.delete_rows(self.settings, versions.latest(self.settings, "d"), gone, message="m")

    def fix(self, gone: Sequence[int], new: Sequence[Values]) -> None:
        last = versions.latest(self.settings, "d")
        edit.fix_rows(self.settings, last, gone, from_table(table(new), LAYOUT), message="m", suite=self.suite)


def step(model: Model, real: Real, name: str, arguments: list) -> None:
    """Both do it, or both refuse for the same reason."""
    try:
        model.take(getattr(model, name)(*arguments))
    except Refused as refused:
        event(f"{name} refused: {refused}")
        with pytest.raises(DataError, match=str(refused)):
            getattr(real, name)(*arguments)
        return
    event(name)
    getattr(real, name)(*arguments)


def store_anew(model: Model, real: Real, name: str, place: int) -> None:
    """What changes neither rows nor numbers: another storage, versions that are deleted, objects that nobody needs."""
    if name == "collect":
        for item in list(dataset_objects.objects(real.settings, Rules(time.time() + 9e9, 1, 1), InUse())):
            assert not item.goes or not item.take()
    elif not model.versions:
        with pytest.raises(DataError, match="no dataset d"):
            compact(real.settings, "d") if name == "compact" else tag_delete.delete(real.settings, "d", reason="r")
    elif name == "compact":
        with suppress(NothingChanged):
            compact(real.settings, "d")
    else:
        number = sorted(model.versions)[max(place, -len(model.versions))]
        tag_delete.delete(real.settings, f"d@v{number}", reason="r")
        del model.versions[number]
    event(name)


def check(model: Model, real: Real, *, whole: bool = False) -> None:
    """The newest version, or all, is what the model says."""
    if not model.versions:
        assert versions.list_datasets(real.settings) == []
        return
    assert versions.latest(real.settings, "d").number == max(model.versions)
    for version in versions.list_versions(real.settings, "d") if whole else [versions.latest(real.settings, "d")]:
        rows = [row.values for row in model.versions[version.number]]
        assert version.rows == len(rows)
        assert [tuple(row.values()) for row in read(real.settings, version).to_pylist()] == rows
        assert version.id == identity(rows)
    assert [version.number for version in versions.list_versions(real.settings, "d")] == sorted(model.versions)
    assert versions.highest(real.settings, "d") == model.number


def check_snapshot(model: Model, real: Real, since: int, chosen: list[str]) -> None:
    """The rows of a filter and their split, against a loop over the model."""
    version = versions.latest(real.settings, "d")
    wanted = [
        row
        for row in model.rows
        if row.version > since
        and all((tag[1:] not in row.tags) if tag[0] == "!" else tag in row.tags for tag in chosen)
    ]
    if not wanted:
        with pytest.raises(DataError, match="has no rows"):
            snapshot.prepare(real.settings, version, SPLIT, since=since, tags=chosen)
        return
    data = snapshot.open_anew(real.settings, snapshot.prepare(real.settings, version, SPLIT, since=since, tags=chosen))
    for name, low in (("train", True), ("test", False)):
        expected = [row.values for row in wanted if (point(row.anchor) < 0.5) == low]
        assert [tuple(row.values()) for row in data.table(name).to_pylist()] == expected


def point(x: int) -> float:
    return int.from_bytes(bytes(digest(batch_of([(x, 0)]), LAYOUT).anchor[0][:8]), "little") / 2**64


@pytest.mark.timeout(3600)
@pytest.mark.matrix("examples", [100], sample=[6])
def test_any_operations_give_what_a_list_gives(small_shards, record_property, monkeypatch, examples):
    done, passed = [0], Report(True, "", "")
    for module in (commits, edit):  # Great Expectations takes ten times as long as all else, and has tests of its own
        monkeypatch.setattr(
            module, "validate", lambda settings, *_, **__: replace(passed, page=str(settings.home / "r.html"))
        )

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate, Phase.shrink] if examples > 10 else [Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(
        operations,
        st.floats(0, 1, exclude_max=True),
        st.sampled_from([[], ["a"], ["!a"], ["a", "!b"], ["b"]]),
        st.sampled_from(["same_split", "allow", "refuse"]),
    )
    def try_them(asked, since, chosen, policy):
        with tempfile.TemporaryDirectory() as folder:
            play(Path(folder), asked, since, chosen, policy)
        done[0] += len(asked)

    try_them()
    record_property("operations", f"{done[0]} in {examples} sequences")


def play(folder: Path, asked: list, since: float, chosen: list[str], policy: str) -> None:
    suite = {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}}
    (folder / "any.json").write_text(json.dumps({"name": "any", "expectations": [suite]}))
    model, real = Model(policy), Real(Settings(home=folder / "home", project=folder), folder / "any.json", policy)
    step(model, real, "append", [[(1, 0), (2, 1), (3, 0)], ["a"], False])
    for name, *arguments in asked:
        if name in ("compact", "delete", "collect"):
            store_anew(model, real, name, *(arguments or [0]))
        elif name in ("remove", "fix") and model.rows:
            gone = list(dict.fromkeys(int(place * len(model.rows)) for place in arguments[0]))
            step(model, real, name, [gone, *([arguments[1][: len(gone)]] if name == "fix" else [])])
        elif name in ("append", "replace"):
            step(model, real, name, arguments)
        check(model, real)
    model.take(model.append([(77, 0)], [], False))
    real.append([(77, 0)], [], False)  # a commit is always possible
    check(model, real, whole=True)
    check_snapshot(model, real, [0, *sorted(model.versions)][int(since * len(model.versions))], chosen)
    fresh = Real(Settings(home=folder / "fresh", project=folder), folder / "any.json")
    fresh.append([row.values for row in model.rows], [], False)
    assert versions.latest(fresh.settings, "d").id == versions.latest(real.settings, "d").id
