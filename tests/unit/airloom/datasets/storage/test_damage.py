"""A flipped byte, a cut or a lost file, of every kind that a home keeps: mended, or named; never other rows, silently.

A home is made once; each case harms one file of a fresh copy in its place and then tries what people do with data. What
is not listed in `FLIPPED` must come out as if nothing had happened, or as an AirloomError that says what to do.
"""

import random
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from airloom.contracts import Snapshot
from airloom.datasets import edit, tag_delete, versions
from airloom.datasets.commit import commit
from airloom.datasets.ingest.images import image_table
from airloom.datasets.read import read
from airloom.datasets.snapshots import files as snapshot_files
from airloom.datasets.snapshots import snapshot
from airloom.datasets.storage import repository
from airloom.datasets.storage.store import Store
from airloom.datasets.validation import quarantine
from airloom.errors import AirloomError, ValidationFailed
from airloom.settings import Settings

PROJECT = Path(__file__).resolve().parents[5]
SPLIT = {"train": 0.5, "test": 0.5}


def batch(seed: int, wrong: int = 0) -> pa.Table:
    drawn = np.random.default_rng(seed)
    images = drawn.uniform(0.1, 0.6, (30, 1, 8, 8)).astype(np.float32)
    return image_table(images, drawn.integers(0, 10, 30) + wrong)


@dataclass
class World:
    """A home with two batches, a deleted row, a deleted version, a snapshot and a batch in quarantine."""

    settings: Settings
    backup: Path
    made: Snapshot
    held: str
    rows: pa.Table
    splits: dict[str, pa.Table]
    train: np.ndarray
    log: list[dict]

    def restore(self) -> None:
        shutil.rmtree(self.settings.home)
        shutil.copytree(self.backup, self.settings.home, symlinks=True)

    @property
    def shard(self):
        return self.manifest.shards[0]

    @property
    def manifest(self):
        return versions.manifest_of(self.settings, versions.latest(self.settings, "digits"))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("damage")
    settings = Settings(home=folder / "home", project=PROJECT)
    commit(settings, "digits", batch(0), message="one", tags=["left"])
    commit(settings, "digits", batch(1), message="two")
    last = edit.delete_rows(settings, versions.latest(settings, "digits"), [3], message="blurred")
    commit(settings, "digits", batch(2), message="wrong")
    tag_delete.delete(settings, "digits@v4", reason="wrong")
    with pytest.raises(ValidationFailed):
        commit(settings, "digits", batch(3, wrong=50), message="bad")
    (held,) = quarantine.list_batches(settings)
    made = snapshot.prepare(settings, last, SPLIT)
    opened = snapshot.open_anew(settings, made)
    splits = {name: opened.table(name) for name in SPLIT}
    train = np.array(opened.split("train").rows)
    log = versions.log(settings, "digits")
    shutil.copytree(settings.home, folder / "backup", symlinks=True)
    yield World(settings, folder / "backup", made, held.id, read(settings, last), splits, train, log)


def git_object(name: str) -> Callable[[World], list[Path]]:
    def find(world: World) -> list[Path]:
        oid = repository.git(world.settings.data_repo, "rev-parse", name).stdout.strip()
        return [world.settings.data_repo / "objects" / oid[:2] / oid[2:]]

    return find


def cached(world: World, name: str) -> Path:
    return Store(world.settings).path(name)


def stored(world: World, name: str) -> Path:
    return world.settings.dvc_remote_folder / "files" / "md5" / name[:2] / name[2:]


def listing(world: World) -> str:
    text = repository.read_file(world.settings.data_repo, "main", "digits/shards.dvc") or ""
    return re.search(r"md5: (\S+)", text)[1]


FILES: dict[str, Callable[[World], list[Path]]] = {
    "shard, cached": lambda w: [cached(w, w.shard.md5)],
    "shard, in the remote": lambda w: [stored(w, w.shard.md5)],
    "shard, both": lambda w: [cached(w, w.shard.md5), stored(w, w.shard.md5)],
    "index, cached": lambda w: [cached(w, w.shard.index)],
    "index, in the remote": lambda w: [stored(w, w.shard.index)],
    "index, both": lambda w: [cached(w, w.shard.index), stored(w, w.shard.index)],
    "listing, cached": lambda w: [cached(w, listing(w))],
    "listing, in the remote": lambda w: [stored(w, listing(w))],
    "manifest": git_object("refs/tags/digits@v3:digits/manifest.json"),
    "manifest on main": git_object("main:digits/manifest.json"),
    "DVC file": git_object("main:digits/shards.dvc"),
    "deletions": git_object("main:digits/deleted.json"),
    "tree": git_object("main:digits"),
    "commit": git_object("main"),
    "tag": git_object("refs/tags/digits@v3"),
    "branch": lambda w: [w.settings.data_repo / "refs" / "heads" / "main"],
    "snapshot.json": lambda w: [snapshot_files.folder(w.settings, w.made.id) / "snapshot.json"],
    "row numbers": lambda w: [snapshot_files.rows_file(w.settings, w.made.id, "train")],
    "quarantined rows": lambda w: [w.settings.home / "quarantine" / w.held / "00000.arrow"],
    "quarantine's record": lambda w: [w.settings.home / "quarantine" / w.held / "batch.json"],
}


def reads(world: World) -> bool:
    return read(world.settings, versions.find(world.settings, "digits")).equals(world.rows)


def logs(world: World) -> bool:
    return versions.log(world.settings, "digits") == world.log and versions.list_datasets(world.settings) == ["digits"]


def trains(world: World) -> bool:
    """A first epoch of the loader, in which every digest is checked."""
    seen = []
    for _, labels in snapshot.open_anew(world.settings, world.made).loader("train", 7, shuffle=False):
        seen += labels.tolist()
    return seen == world.splits["train"].column("label").to_pylist()


def opens(world: World) -> bool:
    """Whole splits, in memory and as tables."""
    data = snapshot.open_anew(world.settings, world.made)
    images = data.tensors("test")[0].numpy().reshape(-1, 64)
    expected = np.stack(world.splits["test"].column("image").to_numpy())
    return np.array_equal(images, expected) and all(data.table(n).equals(world.splits[n]) for n in SPLIT)


def chooses(world: World) -> bool:
    """A snapshot that nobody prepared before."""
    version = versions.find(world.settings, "digits@v3")
    data = snapshot.open_anew(world.settings, snapshot.prepare(world.settings, version, {"all": 1.0}, tags=["left"]))
    return data.table("all").equals(world.rows.slice(0, 29))


def appends(world: World) -> bool:
    made = commit(world.settings, "digits", batch(9), message="more")
    return made.number == 5 and read(world.settings, made).equals(pa.concat_tables([world.rows, batch(9)]))


def removes(world: World) -> bool:
    made = edit.delete_rows(world.settings, versions.find(world.settings, "digits"), [0], message="less")
    return made.number == 5 and read(world.settings, made).equals(world.rows.slice(1))


def releases(world: World) -> bool:
    rows, _ = quarantine.open_batch(world.settings, world.held)
    return rows.to_table().equals(batch(3, wrong=50)) and quarantine.list_batches(world.settings)[0].rows == 30


USES = {use.__name__: use for use in (reads, logs, trains, opens, chooses, appends, removes, releases)}
GIT = r"(corrupt|missing|inflate|unable to|cannot be written|bad object).*\n  -> "
# By kind of file: what a flipped byte stops, and what the error says. All else comes out right.
FLIPPED: dict[str, dict[str, str]] = {
    "shard, cached": dict.fromkeys(
        ["trains", "opens", "chooses"], r"shard \w{32} is damaged: .*/cache/.*\n  -> remove"
    ),
    "shard, both": {
        **dict.fromkeys(["trains", "opens", "chooses"], r"shard \w{32} is damaged"),
        **dict.fromkeys(["reads", "appends", "removes"], r"/remote/\S+ is damaged: its MD5.*\n  -> restore"),
    },
    "index, both": dict.fromkeys(["appends", "removes", "chooses"], r"/remote/\S+ is damaged: its MD5"),
    "manifest": dict.fromkeys(["reads", "trains", "opens", "chooses", "appends", "removes"], GIT),
    "manifest on main": dict.fromkeys(["reads", "appends", "removes"], GIT),
    "DVC file": dict.fromkeys(["appends", "removes"], GIT),
    "deletions": dict.fromkeys([*USES][:-1], GIT),
    "tree": dict.fromkeys([*USES][:-1], GIT),
    "commit": dict.fromkeys([*USES][:-1], GIT),
    "tag": dict.fromkeys([*USES][:-1], GIT),
    "branch": dict.fromkeys([*USES][:-1], r"\n  -> "),
    "quarantined rows": {"releases": r"00000\.arrow is not what was kept\n  -> `drop`"},
    "quarantine's record": {"releases": r"batch\.json is damaged.*\n  -> `drop`"},
}


def flip(path: Path, at: float, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[int(at * len(data))] ^= 1 << bit
    write(path, bytes(data))


def write(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)


def harmed(world: World, kind: str, harm: Callable[[bytes], bytes | None]) -> Iterator[str]:
    """Each use, after the file was harmed; what only reads may mend that file, and changes nothing else."""
    world.restore()
    files = {path: (path.read_bytes(), path.stat().st_mode) for path in FILES[kind](world)}
    for use in USES:
        if use in ("chooses", "appends", "removes"):
            world.restore()
        for path, (good, mode) in files.items():
            bad = harm(good)
            path.parent.mkdir(exist_ok=True)
            path.unlink(missing_ok=True)
            if bad is not None:
                path.write_bytes(bad)
                path.chmod(mode)  # DVC trusts what is read-only
        yield use


def outcome(world: World, use: str) -> str:
    """`right`, or the error's text; anything else fails."""
    try:
        assert USES[use](world), f"{use}: other rows than before"
    except AirloomError as error:
        assert error.hint, error
        return str(error)
    return "right"


@pytest.mark.matrix(
    ("kind", "seed"), [(kind, seed) for kind in FILES for seed in range(8)], sample=[(kind, 0) for kind in FILES]
)
def test_a_flipped_byte(world, kind, seed):
    drawn = random.Random(f"{kind} {seed}")
    at, bit = drawn.random(), drawn.randrange(8)

    def harm(good: bytes) -> bytes:
        place = int(at * len(good))
        return good[:place] + bytes([good[place] ^ 1 << bit]) + good[place + 1 :]

    for use in harmed(world, kind, harm):
        found, expected = outcome(world, use), FLIPPED.get(kind, {}).get(use, "^right$")
        same = kind == "branch" and found == "right"  # git reads upper case and other ends of a line as well
        assert same or re.search(expected, found, re.S), (use, found)


def test_a_record_of_quarantine_that_says_something_else_is_named(world):
    """It is still JSON, with every key in its place."""
    for use in harmed(world, "quarantine's record", lambda good: good.replace(b'"dataset": "d', b'"dataset": "D')):
        found = outcome(world, use)
        assert re.search(FLIPPED["quarantine's record"].get(use, "^right$"), found, re.S), (use, found)


@pytest.mark.matrix(("kind", "harm"), [(k, h) for k in FILES for h in ("cut", "emptied", "gone", "zeros")], sample=8)
def test_a_cut_emptied_lost_or_zeroed_file(world, kind, harm):
    """Right or named, whichever use: the listed uses may come out right, as what has another size is fetched again."""
    harms = {"cut": lambda good: good[: len(good) * 2 // 3], "emptied": lambda _: b"", "gone": lambda _: None}
    for use in harmed(world, kind, harms.get(harm, lambda good: bytes(len(good)))):
        outcome(world, use)


def flips(size: int, sample: int) -> list[tuple[int, int]]:
    drawn = random.Random(size)
    whole = [(at, bit) for at in range(size) for bit in range(8)]
    return drawn.sample(whole, min(sample, len(whole)))


@pytest.mark.parametrize("kind", ["snapshot.json", "row numbers"])
@pytest.mark.matrix("count", [6000], sample=[40])
def test_no_flipped_bit_of_a_snapshot_chooses_other_rows(world, record_property, kind, count):
    world.restore()
    (path,) = FILES[kind](world)
    good = path.read_bytes()
    every = flips(len(good), count)
    for at, bit in every:
        flip(path, at / len(good), bit)
        rows = snapshot.open_anew(world.settings, world.made).split("train").rows
        assert len(rows) == world.made.rows["train"] and np.array_equal(rows, world.train), (at, bit)
        write(path, good)
    record_property(kind, f"{len(every)} of {8 * len(good)} bits flipped one by one, the same rows each time")


def test_damage_at_home_and_in_the_remote_is_told_from_damage_in_one_of_them(world):
    world.restore()
    name = world.shard.md5
    flip(cached(world, name), 0.5, 0)
    assert reads(world)  # fetched anew
    assert Store(world.settings).verify([name]) == []
    flip(stored(world, name), 0.5, 0)
    cached(world, name).unlink()
    assert re.search(rf"{stored(world, name)} is damaged: its MD5", outcome(world, "reads"))
