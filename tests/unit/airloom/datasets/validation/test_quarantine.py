"""What is in quarantine is whole, stays apart, and goes at once."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

import pyarrow as pa
import pytest

from airloom.datasets import versions
from airloom.datasets.storage.schema import Layout
from airloom.datasets.validation import quarantine
from airloom.datasets.validation.validate import Report
from airloom.errors import AirloomError, ConfigError, CorruptFile, DataError

REQUEST = {"layout": asdict(Layout("tabular", label="label")), "message": "new", "author": "Ada", "tags": ["x"]}


@pytest.fixture
def report(tmp_path):
    (tmp_path / "r.html").write_text("<html>why</html>")
    (tmp_path / "r.json").write_text('{"success": false}')
    return Report(False, str(tmp_path / "r.html"), str(tmp_path / "r.json"), ["label: found 17 in row 2"])


@pytest.fixture
def shards(tmp_path):
    def make(*parts):
        paths = []
        for number, values in enumerate(parts):
            path = tmp_path / f"{9 - number}.arrow"  # names that sort against their order
            batch = pa.record_batch({"a": values, "label": values})
            with pa.ipc.new_file(str(path), batch.schema) as writer:
                writer.write_batch(batch)
            path.chmod(0o444)
            paths.append(path)
        return paths

    return make


@pytest.fixture
def kept(settings, shards, report):
    return quarantine.keep(settings, "pets", shards([1, 2], [3]), REQUEST, report)


def test_a_batch_is_kept_with_its_report_and_request(settings, kept, report, shards):
    held = quarantine.show(settings, kept)
    assert (held.id, held.dataset, held.rows, held.failed) == (kept, "pets", 3, report.failed)
    assert held.request == REQUEST
    assert held.bytes == sum(path.stat().st_size for path in shards([1, 2], [3]))
    for page in (report.page, report.json):
        os.unlink(page)  # noqa: PTH108 - a path as text
    assert "why" in open(held.page).read()  # noqa: PTH123, SIM115
    assert quarantine.list_batches(settings) == [held]


def test_a_batch_is_opened_with_its_rows_in_order(settings, kept):
    batches, request = quarantine.open_batch(settings, kept)
    assert batches.layout == Layout("tabular", label="label")
    assert batches.to_table()["a"].to_pylist() == [1, 2, 3]
    assert request == REQUEST


def test_a_column_keeps_its_type_whatever_the_first_rows_look_like(settings, shards, report):
    lists = pa.large_list(pa.int64())  # of one length, then of another
    files = shards(pa.array([[1, 2], [3, 4]], lists), pa.array([[5]], lists))
    request = REQUEST | {"layout": asdict(Layout("generic"))}
    kept = quarantine.keep(settings, "pets", files, request, report)
    assert quarantine.open_batch(settings, kept)[0].to_table()["a"].to_pylist() == [[1, 2], [3, 4], [5]]


def test_shards_are_linked_not_copied_and_survive_their_cache(settings, shards, report):
    (path,) = shards([1])
    kept = quarantine.keep(settings, "pets", [path], REQUEST, report)
    assert path.stat().st_nlink == 2
    path.unlink()
    assert quarantine.open_batch(settings, kept)[0].to_table().num_rows == 1


def test_where_links_are_not_possible_shards_are_copied(settings, shards, report, monkeypatch):
    def no_links(source, target):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", no_links)
    kept = quarantine.keep(settings, "pets", shards([1]), REQUEST, report)
    assert quarantine.open_batch(settings, kept)[0].to_table().num_rows == 1


def test_no_reader_of_datasets_sees_it(settings, kept):
    assert versions.list_datasets(settings) == []
    for name in (kept, f"quarantine/{kept}", f"{kept}@v1"):
        with pytest.raises(AirloomError):
            versions.get(settings, name, 1)
    assert (settings.home / "quarantine").stat().st_mode & 0o077 == 0


def test_a_dropped_batch_is_gone_for_all_at_once(settings, kept):
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(lambda _: drop(settings, kept), range(8)))
    assert sorted(outcomes) == ["absent"] * 7 + ["dropped"]
    assert quarantine.list_batches(settings) == []
    assert list((settings.home / "quarantine").iterdir()) == []
    for use in (quarantine.show, quarantine.open_batch, quarantine.drop):
        with pytest.raises(DataError, match=f"no batch {kept}"):
            use(settings, kept)


def drop(settings, identity):
    try:
        quarantine.drop(settings, identity)
    except DataError:
        return "absent"
    return "dropped"


@pytest.mark.parametrize(
    "identity",
    ["", "..", "../pets-0123456789ab", "/etc", "pets", "pets-0123456789AB", "pets-0123456789ab\n", "a\0b", "x" * 9999],
)
def test_an_id_never_leaves_its_folder(settings, kept, identity):
    for use in (quarantine.show, quarantine.open_batch, quarantine.drop):
        with pytest.raises(ConfigError, match="no id of a batch"):
            use(settings, identity)


def test_an_absent_batch_says_which_there_are(settings, kept):
    with pytest.raises(DataError, match=f"(?s)no batch pets-000000000000.*{kept}"):
        quarantine.show(settings, "pets-000000000000")


@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "swap"])
def test_a_changed_file_is_never_released(settings, kept, damage):
    path = settings.home / "quarantine" / kept / "00000.arrow"
    data = bytearray(path.read_bytes())
    data[-40] ^= 1
    path.unlink()
    if damage == "flip":
        path.write_bytes(data)
    elif damage == "cut":
        path.write_bytes(data[:-9])
    elif damage == "swap":
        shutil.copy(path.with_name("00001.arrow"), path)
    with pytest.raises(CorruptFile, match=r"00000\.arrow is not what was kept"):
        quarantine.open_batch(settings, kept)


def test_a_damaged_record_is_named_and_can_be_dropped(settings, kept, shards, report, caplog):
    other = quarantine.keep(settings, "pets", shards([1]), REQUEST, report)
    (settings.home / "quarantine" / kept / "batch.json").write_text("{")
    assert [held.id for held in quarantine.list_batches(settings)] == [other]
    assert kept in caplog.text
    with pytest.raises(CorruptFile, match=kept):
        quarantine.show(settings, kept)
    quarantine.drop(settings, kept)


def test_what_cannot_be_kept_leaves_nothing(settings, shards, report):
    for files, request, dataset in (
        ([settings.home / "none.arrow"], REQUEST, "pets"),
        (shards([1]), {}, "pets"),
        (shards([1]), REQUEST, "../pets"),
        (shards([1]), REQUEST | {"at": object()}, "pets"),
    ):
        with pytest.raises((AirloomError, OSError, KeyError, TypeError)):
            quarantine.keep(settings, dataset, files, request, report)
    assert quarantine.list_batches(settings) == []
    assert not list(settings.home.glob("quarantine/.*"))


KEEPER = """
import json, sys
from pathlib import Path
from airloom.datasets.validation import quarantine
from airloom.datasets.validation.validate import Report
from airloom.settings import Settings

home, request, report, *files = sys.argv[1:]
report = Report(False, report + ".html", report + ".json", ["x"])
print("ready", flush=True)
while True:
    quarantine.keep(Settings(home=Path(home)), "pets", [Path(file) for file in files], json.loads(request), report)
"""


def test_a_killed_keeper_leaves_only_whole_batches(settings, shards, report):
    files = shards(*[[n] for n in range(8)])
    base = report.page.removesuffix(".html")
    command = [sys.executable, "-c", KEEPER, str(settings.home), json.dumps(REQUEST), base, *map(str, files)]
    root = settings.home / "quarantine"
    for delay in range(5):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        process.stdout.readline()
        before = len(list(root.glob("pets-*")))
        while len(list(root.glob("pets-*"))) < before + delay:
            time.sleep(0.0005)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    for held in quarantine.list_batches(settings):
        assert quarantine.open_batch(settings, held.id)[0].to_table()["a"].to_pylist() == list(range(8))
    for left in root.glob(".*"):
        os.utime(left, (0, 0))  # long ago
    quarantine.keep(settings, "pets", files, REQUEST, report)
    assert not list(root.glob(".*"))
