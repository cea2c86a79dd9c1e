"""A damaged shard is found in the first epoch of every loader, and named."""

import hashlib
import subprocess
import sys
import threading
import time

import pytest

from airloom.datasets.reading import verify as verifying
from airloom.datasets.reading.loader import Loader
from airloom.errors import CorruptFile


def loader_of(source, rows=None, **options):
    return Loader(source.data(rows), 16, snapshot="abc", **options)


@pytest.mark.parametrize(
    "options", [{}, {"prefetch": 0}, {"processes": 1}, {"views": True}, {"rank": 1, "world_size": 2}]
)
@pytest.mark.parametrize("shard", [0, 4])
def test_a_flipped_byte_with_size_and_time_put_back_is_named_in_the_first_epoch(source, shard, options):
    file = source.files[shard]
    before = file.path.stat()
    source.flip(file)
    after = file.path.stat()
    assert (after.st_size, after.st_mtime_ns, after.st_ino) == (before.st_size, before.st_mtime_ns, before.st_ino)
    with pytest.raises(CorruptFile, match=rf"shard {file.md5} is damaged: its MD5 is [0-9a-f]{{32}} .*\n.*fetch"):
        list(loader_of(source, **options))


def test_a_byte_flipped_after_one_loader_is_found_by_the_next_over_the_same_mapping(source):
    data = source.data()
    list(Loader(data, 16, snapshot="abc"))
    source.flip(source.files[3])
    with pytest.raises(CorruptFile, match=source.files[3].md5):
        list(Loader(data, 16, snapshot="abc"))


def test_it_is_found_in_the_rest_of_an_epoch_that_was_resumed(source):
    first = loader_of(source)
    next(iter(first))
    source.flip(source.files[0])
    second = loader_of(source)
    second.load_state_dict(first.state_dict())
    with pytest.raises(CorruptFile, match=source.files[0].md5):
        list(second)


def test_what_an_epoch_left_early_did_not_reach_is_verified_in_the_next(source):
    loader = loader_of(source)
    source.flip(source.files[0])
    for _ in loader:
        break
    for _ in range(2):  # and again, as long as it is damaged
        with pytest.raises(CorruptFile, match=source.files[0].md5):
            list(loader)


def test_the_epoch_does_not_end_before_all_is_verified(source, monkeypatch):
    true, done = verifying.verify, []

    def slowly(mapped, shard):
        time.sleep(0.1)
        true(mapped, shard)
        done.append(shard)

    monkeypatch.setattr(verifying, "verify", slowly)
    loader = loader_of(source)
    assert len(list(loader)) == 15
    assert sorted(done) == [0, 1, 3, 4]  # each shard that has rows
    list(loader)
    assert len(done) == 4  # once a loader


def test_the_first_batch_does_not_wait_for_it(source, monkeypatch):
    go = threading.Event()
    monkeypatch.setattr(verifying, "verify", lambda mapped, shard: go.wait(30))
    batches = iter(loader_of(source))
    assert len(next(batches)[1]) == 16
    go.set()
    batches.close()


def test_only_shards_with_rows_of_the_split_are_read(source):
    source.flip(source.files[0])
    assert len(list(loader_of(source, rows=range(70, 240)))) == 11


def test_without_verification_other_values_may_be_read(source):
    source.flip(source.files[0])
    assert len(list(loader_of(source, verify=False))) == 15


def test_chunks_cover_a_file_that_is_bigger_than_one(source, monkeypatch):
    monkeypatch.setattr(verifying, "CHUNK", 100)
    data = source.files[0].path.read_bytes()
    assert hashlib.md5(data, usedforsecurity=False).hexdigest() == source.files[0].md5 and len(data) % 100
    verifying.verify(source.mapped(), 0)


LEFT_OPEN = """
import sys, time
from pathlib import Path
import numpy as np, pyarrow as pa
from airloom.datasets.storage.schema import Layout
from airloom.datasets.reading import verify
from airloom.datasets.reading.loader import Loader
from airloom.datasets.reading.mapped import Mapped, ShardFile
from airloom.datasets.reading.split_data import SplitData

verify.verify = lambda mapped, shard: time.sleep(1)
path = Path(sys.argv[1])
schema = pa.ipc.open_file(str(path)).schema
files = [ShardFile(path, path.stem, 70)] * 1000
data = SplitData(Mapped(files, schema), np.arange(70_000), Layout("any", "label"), lambda c, s, l: (c, c["label"]))
batches = iter(Loader(data, 16, snapshot="abc", threads=int(sys.argv[2])))
next(batches), next(batches)
"""


@pytest.mark.parametrize("threads", ["1", "2"])
def test_a_program_that_leaves_an_iterator_open_ends_soon_and_silently(source, threads):
    begin = time.monotonic()
    command = [sys.executable, "-c", LEFT_OPEN, str(source.files[0].path), threads]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    assert time.monotonic() - begin < 150  # all shards would take 500 s
