"""What a commit takes, what it refuses, and what of it can be read back."""

import getpass
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from airloom.datasets import edit, tag_delete, versions
from airloom.datasets.commit import commit
from airloom.datasets.ingest import from_table
from airloom.datasets.ingest.images import image_arrays, image_table
from airloom.datasets.read import read
from airloom.datasets.release import release
from airloom.datasets.storage import repository
from airloom.datasets.storage.schema import Layout
from airloom.datasets.storage.store import Store
from airloom.datasets.validation import quarantine
from airloom.errors import ConfigError, CorruptFile, DataError, NothingChanged, ValidationFailed
from airloom.names import DatasetName


def test_round_trip_append_and_replace(settings, batch):
    first = commit(settings, "digits", batch(0), message="one")
    second = commit(settings, "digits", batch(1), message="two", author="Ada")
    third = commit(settings, "digits", batch(2), message="three", mode="replace")
    assert read(settings, first).equals(batch(0))
    assert read(settings, second).equals(pa.concat_tables([batch(0), batch(1)]))
    assert read(settings, third).equals(batch(2))
    assert [v.number for v in versions.list_versions(settings, "digits")] == [1, 2, 3]
    assert (second.rows, second.author, second.message) == (12, "Ada", "two")
    with pytest.raises(NothingChanged):
        commit(settings, "digits", batch(2), message="again")
    with pytest.raises(NothingChanged):
        commit(settings, "digits", batch(2), message="again", mode="replace")
    assert versions.latest(settings, "digits") == third
    with pytest.raises(DataError, match=r"digits@v9"):
        versions.get(settings, "digits", 9)


def test_the_id_does_not_depend_on_shards_nor_the_row_order_on_luck(settings, batch, tmp_path):
    whole = commit(settings, "digits", batch(0, 8), message="whole")
    other = replace(settings, home=tmp_path / "other")
    commit(other, "digits", batch(0, 8).slice(0, 3), message="part")
    parts = commit(other, "digits", batch(0, 8).slice(3), message="rest")
    assert whole.id == parts.id
    assert read(settings, whole).equals(read(other, parts))


def test_rows_committed_twice_share_a_file(settings, batch):
    for seed in (0, 1, 0):
        made = commit(settings, "digits", batch(seed), message="m")
    assert read(settings, made).equals(pa.concat_tables([batch(0), batch(1), batch(0)]))


def refused(settings, table, error, match):
    with pytest.raises(error, match=match) as caught:
        commit(settings, "digits", table, message="bad")
    assert versions.list_datasets(settings) == []
    return caught.value


def test_bad_labels_go_to_quarantine_and_a_person_may_release_them(settings, batch):
    images, labels = image_arrays(batch())
    labels = labels.copy()
    labels[2] = 17
    error = refused(settings, image_table(images, labels), ValidationFailed, "17")
    assert "label" in Path(error.report).read_text()
    (held,) = quarantine.list_batches(settings)
    with pytest.raises(ConfigError, match="reason"):
        release(settings, held.id, who="Ada", why=" ")
    made = release(settings, held.id, who="Ada", why="a new class")
    assert (made.name, made.released, made.message) == ("digits@v1", "Ada: a new class", "bad")
    assert read(settings, made).column("label").to_pylist() == labels.tolist()
    assert quarantine.list_batches(settings) == []


def title(page):
    return re.search("<title>(.*)</title>", Path(page).read_text())[1]


def test_a_report_is_titled_by_the_version_that_was_made_or_the_batch_in_quarantine(settings, batch):
    made = commit(settings, "digits", batch(0), message="one")
    assert title(settings.home / made.report) == "digits@v1: passed"
    images, labels = image_arrays(batch(1))
    with pytest.raises(ValidationFailed) as caught:
        commit(settings, "digits", image_table(images, np.full_like(labels, 17)), message="bad")
    assert title(caught.value.report).startswith("digits, batch of 6 rows after digits@v1: FAILED: label: expect")
    (held,) = quarantine.list_batches(settings)
    assert title(held.page).startswith(f"digits, batch {held.id} in quarantine: FAILED: label: expect")
    assert "6 of 6 rows" in title(held.page)
    fixed = edit.fix_rows(
        settings, made, [2], from_table(batch(3, rows=1), Layout("image", label="label")), message="wrong"
    )
    assert title(settings.home / fixed.report) == "digits@v2: passed"


def test_pixels_that_are_no_intensity_are_refused(settings, batch):
    images, labels = image_arrays(batch())
    images[3, 0, 1, 1] = 1.5
    with pytest.raises(DataError, match=r"row 3 .* has a pixel of 1\.5, beyond 0 to 1"):
        image_table(images, labels)
    images[3, 0, 1, 1] = np.nan
    refused(settings, image_table(images, labels), ValidationFailed, "lowest|highest")


def nullable(table):
    return table.cast(pa.schema([field.with_nullable(True) for field in table.schema]))


def test_nulls_are_refused_with_column_and_row(settings, batch):
    table = nullable(batch())
    labels = pa.array([1, 2, 3, None, 5, None], pa.int64())
    refused(settings, table.set_column(1, table.schema.field(1), labels), DataError, "column 'label', row 3")
    pixels = np.zeros(6 * 64, bool)
    pixels[2 * 64 + 5] = True
    flat = pa.array(np.full(6 * 64, 0.3, np.float32), mask=pixels)
    images = pa.FixedSizeListArray.from_arrays(flat, 64)
    refused(settings, table.set_column(0, table.schema.field(0), images), DataError, "row 2 of column 'image'")


def test_other_columns_and_no_rows_are_refused(settings, batch):
    commit(settings, "digits", batch(0), message="one")
    table = batch(1)
    wide = from_table(table.append_column("extra", pa.array(range(6))), Layout("generic", label="label"))
    with pytest.raises(DataError, match="extra: int64 instead of absent"):
        commit(settings, "digits", wide, message="m")
    with pytest.raises(DataError, match="no rows"):
        commit(settings, "digits", table.slice(0, 0), message="m")
    assert versions.latest(settings, "digits").number == 1


def test_a_replacement_may_bring_other_columns(settings, batch):
    commit(settings, "digits", batch(0), message="one")
    images, labels = image_arrays(batch(1, 9))
    flat = image_table(images.reshape(9, 1, 4, 16), labels)
    made = commit(settings, "digits", flat, message="other shape", mode="replace")
    assert (made.number, made.rows) == (2, 9)
    assert read(settings, made).schema.field("image").metadata == {b"shape": b"1,4,16"}


def damage(path):
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_flipped_byte_is_refetched_or_named(settings, batch):
    made = commit(settings, "digits", batch(), message="one")
    shard, store = versions.manifest_of(settings, made).shards[0], Store(settings)
    for name in (shard.md5, shard.index):
        cached, stored = store.path(name), Path(store.remote.oid_to_path(name))
        assert not cached.samefile(stored), "damage in the cache would be damage in the remote"
        damage(cached)
        if name == shard.md5:
            assert read(settings, made).equals(batch())
            damage(cached)
            damage(stored)
            with pytest.raises(CorruptFile, match=name[2:]):
                read(settings, made)
            cached.unlink(missing_ok=True)
            stored.unlink()
            with pytest.raises(DataError, match=name[2:]):
                read(settings, made)
    with pytest.raises(DataError, match="exactly these rows"):  # the index was mended from the remote
        commit(settings, "digits", batch(), message="again")


def test_a_damaged_object_in_the_remote_is_not_published(settings, batch, tmp_path):
    other = replace(settings, home=tmp_path / "other")
    shard = versions.manifest_of(other, commit(other, "digits", batch(), message="one")).shards[0]
    stored = settings.dvc_remote_folder / "files" / "md5" / shard.md5[:2] / shard.md5[2:]
    stored.parent.mkdir(parents=True)
    stored.write_bytes(b"x" * shard.bytes)
    stored.chmod(0o444)  # DVC trusts what is read-only
    refused(settings, batch(), DataError, str(stored))


def test_the_disk_is_full(settings, batch, monkeypatch):
    commit(settings, "digits", batch(), message="one")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("airloom.datasets.storage.store.os.fsync", full)
    with pytest.raises(DataError, match="No space left") as caught:
        commit(settings, "digits", batch(1), message="two")
    monkeypatch.undo()
    assert "make room" in caught.value.hint
    assert versions.latest(settings, "digits").number == 1
    assert not list(settings.dvc_cache.rglob("*.tmp"))
    assert commit(settings, "digits", batch(1), message="two").number == 2


def test_the_remote_is_away_in_mid_push_and_a_retry_completes(settings, batch):
    commit(settings, "digits", batch(), message="one")
    remote = settings.dvc_remote_folder
    away = remote.with_name("away")
    remote.rename(away)
    remote.write_text("no folder")
    with pytest.raises(DataError, match="did not reach the DVC remote"):
        commit(settings, "digits", batch(1), message="two")
    assert versions.latest(settings, "digits").number == 1
    remote.unlink()
    away.rename(remote)
    assert read(settings, commit(settings, "digits", batch(1), message="two")).num_rows == 12


@pytest.mark.parametrize("message", ["", "  ", "a\0b", "x" * 20_000])
def test_bad_messages(settings, batch, message):
    with pytest.raises(ConfigError, match="message"):
        commit(settings, "digits", batch(), message=message)


def test_git_names_the_person_and_the_version_too(settings, batch, monkeypatch):
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setattr(getpass, "getuser", lambda: "ada")
    commit(settings, "digits", batch(0), message="one")
    commit(settings, "digits", batch(1), message="two", author="Bo Å. <bo@example.org>")
    edit.delete_rows(replace(settings, user="Cy"), versions.get(settings, "digits", 2), [1], message="dark")
    tag_delete.delete(settings, "digits@v1", reason="old", author="Ada")
    log = repository.git(settings.data_repo, "log", "--format=%an <%ae>, %cn", "main").stdout.splitlines()
    assert log == [
        "Ada <airloom@localhost>, airloom",
        "Cy <airloom@localhost>, airloom",
        "Bo Å. <bo@example.org>, airloom",
        "ada <airloom@localhost>, airloom",
        "airloom (service) <airloom@localhost>, airloom",
    ]
    assert [version.author for version in versions.log(settings, "digits")] == ["Cy", "Bo Å."]


@pytest.mark.parametrize("author", ["Ada <ada>", "", "a\nb", "<a>", "x" * 300, " ", "\0"])
def test_bad_authors(settings, batch, author):
    with pytest.raises(ConfigError, match="author"):
        commit(settings, "digits", batch(), message="m", author=author)


@pytest.mark.parametrize("tag", ["", "A", "a b", "../x", "!a", "x" * 65, "a\n"])
def test_bad_tags(settings, batch, tag):
    with pytest.raises(ConfigError, match="tag"):
        commit(settings, "digits", batch(), message="m", tags=[tag])


def test_rows_of_one_key_share_their_split_and_a_leak_between_keys_is_counted_or_refused(settings, tmp_path):
    (tmp_path / "project/configs/expectations").mkdir(parents=True)
    suite = (
        '{"name": "t", "expectations": [{"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}}]}'
    )
    (tmp_path / "project/configs/expectations/visits.json").write_text(suite)
    settings = replace(settings, project=tmp_path / "project")
    layout = Layout("tabular", label="ill", key="patient")

    def visits(*rows):
        return from_table(
            pa.Table.from_pylist([dict(zip(("age", "patient", "ill"), row, strict=True)) for row in rows]), layout
        )

    first = commit(settings, "visits", visits((30, "a", 0), (31, "b", 1), (32, "a", 0)), message="one")
    assert (first.key, first.label) == ("patient", "ill")
    with pytest.raises(DataError, match=r"row 0 of the batch has those of row 1 of visits@v1"):
        commit(settings, "visits", visits((31, "c", 1)), message="a leak", equal_inputs="refuse")
    second = commit(settings, "visits", visits((31, "c", 1), (31, "b", 0)), message="another patient, and the same")
    assert versions.manifest_of(settings, second).changed == {"added": 2, "deleted": 0, "apart_from_equals": 1}
    page = (settings.home / second.report).read_text()
    assert "Equal inputs: 1 of 2 rows have the inputs of a row with another key: they are taken, and may" in page


def test_version_id_changes_with_one_value(settings, batch):
    first = commit(settings, "digits", batch(), message="one")
    images, labels = image_arrays(batch())
    images, labels = images.copy(), labels.copy()
    labels[0] = (labels[0] + 1) % 10
    second = commit(settings, "digits", image_table(images, labels), message="two", mode="replace")
    images[5, 0, 7, 7] += np.float32(0.001)
    third = commit(settings, "digits", image_table(images, labels), message="three", mode="replace")
    assert len({first.id, second.id, third.id}) == 3


BAD = ["", "..", "../x", "a/b", "/etc", "a\0b", "a" * 41, "a" * 5000, "Digits", "1a", "a\n", "ä", "-a", "a@v1", "a b"]


@pytest.mark.parametrize("name", BAD)
def test_bad_names(settings, batch, name):
    with pytest.raises(ConfigError):
        commit(settings, name, batch(), message="m")
    with pytest.raises(ConfigError):
        versions.list_versions(settings, name)
    assert not settings.home.exists()


@pytest.mark.parametrize(
    "text", ["digits@", "digits@v²", "digits@v٣", "digits@V1", "digits@v1 ", "digits@../x", "digits@" + "9" * 5000]
)
def test_bad_versions(text):
    with pytest.raises(ConfigError):
        DatasetName.parse(text)


def test_good_names():
    assert DatasetName.parse("digits@v3") == DatasetName("digits", 3)
    assert DatasetName.parse("digits") == DatasetName("digits")
    assert DatasetName.parse("digits@golden") == DatasetName("digits", tag="golden")
