"""What a commit takes, what it refuses, and what of it can be read back."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from airloom.datasets import repository, shards, versions
from airloom.datasets.commit import commit
from airloom.datasets.identity import row_digests
from airloom.datasets.read import read
from airloom.datasets.types import image_arrays, image_table
from airloom.errors import ConfigError, CorruptFile, DataError, NothingChanged, ValidationFailed


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
    other = settings.model_copy(update={"home": tmp_path / "other"})
    commit(other, "digits", batch(0, 8).slice(0, 3), message="part")
    parts = commit(other, "digits", batch(0, 8).slice(3), message="rest")
    assert whole.id == parts.id
    assert row_digests(read(settings, whole)) == row_digests(read(other, parts))


def test_rows_committed_twice_share_a_file(settings, batch):
    for seed in (0, 1, 0):
        made = commit(settings, "digits", batch(seed), message="m")
    assert read(settings, made).equals(pa.concat_tables([batch(0), batch(1), batch(0)]))


def refused(settings, table, error, match):
    with pytest.raises(error, match=match) as caught:
        commit(settings, "digits", table, message="bad")
    assert versions.list_datasets(settings) == []
    return caught.value


def test_bad_labels_go_to_quarantine(settings, batch):
    images, labels = image_arrays(batch())
    labels[2] = 17
    error = refused(settings, image_table(images, labels), ValidationFailed, "17")
    report = Path(error.report)
    assert "label" in report.read_text()
    assert pa.ipc.open_file(str(report.parent / "00000.arrow")).read_all().num_rows == 6


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1.5])
def test_pixels_that_are_no_intensity_are_refused(settings, batch, value):
    images, labels = image_arrays(batch())
    images[3, 0, 1, 1] = value
    refused(settings, image_table(images, labels), ValidationFailed, "lowest|highest")


def nullable(table):
    return table.cast(pa.schema([field.with_nullable(True) for field in table.schema]))


def test_nulls_are_refused_with_column_and_row(settings, batch):
    table = nullable(batch())
    labels = pa.array([1, 2, 3, None, 5, None], pa.int64())
    refused(settings, table.set_column(1, table.schema.field(1), labels), DataError, "column label, row 3")
    pixels = np.zeros(6 * 64, bool)
    pixels[2 * 64 + 5] = True
    flat = pa.array(np.full(6 * 64, 0.3, np.float32), mask=pixels)
    images = pa.FixedSizeListArray.from_arrays(flat, 64)
    refused(settings, table.set_column(0, table.schema.field(0), images), DataError, "column image, row 2")


def test_nullable_columns_are_refused_first_and_cast_later(settings, batch):
    refused(settings, nullable(batch()), DataError, "nullable columns: image, label")
    commit(settings, "digits", batch(0), message="one")
    table = nullable(batch(1)).select(["label", "image"]).replace_schema_metadata({"by": "pandas"})
    made = commit(settings, "digits", table, message="two")
    assert read(settings, made).equals(pa.concat_tables([batch(0), batch(1)]))


def test_other_columns_and_no_rows_are_refused(settings, batch):
    commit(settings, "digits", batch(0), message="one")
    table = batch(1)
    with pytest.raises(DataError, match="extra: int64 instead of absent"):
        commit(settings, "digits", table.append_column("extra", pa.array(range(6))), message="m")
    short = table.set_column(1, pa.field("label", pa.int32(), nullable=False), table.column(1).cast(pa.int32()))
    with pytest.raises(DataError, match="label: int32 instead of int64"):
        commit(settings, "digits", short, message="m")
    with pytest.raises(DataError, match="no rows"):
        commit(settings, "digits", table.slice(0, 0), message="m")
    assert versions.latest(settings, "digits").number == 1


def damage(path):
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_flipped_byte_is_refetched_or_named(settings, batch):
    made = commit(settings, "digits", batch(), message="one")
    md5 = versions.manifest_of(settings, "digits", 1).shards[0].md5
    cached, stored = repository.cached(settings, md5), repository.stored(settings, md5)
    if cached.samefile(stored):
        pytest.fail("cache and remote share one file: damage in one is damage in both")
    damage(cached)
    assert read(settings, made).equals(batch())
    damage(cached)
    damage(stored)
    with pytest.raises(CorruptFile, match=str(stored)):
        read(settings, made)
    cached.unlink()
    stored.unlink()
    with pytest.raises(DataError, match=md5):
        read(settings, made)


def test_a_damaged_object_in_the_cache_is_not_published(settings, batch):
    md5 = shards.write_shard(settings, batch()).md5
    damage(repository.cached(settings, md5))
    made = commit(settings, "digits", batch(), message="one")
    repository.cached(settings, md5).unlink()
    assert read(settings, made).equals(batch())


def test_a_damaged_object_in_the_remote_is_not_published(settings, batch):
    shard = shards.write_shard(settings, batch())
    stored = repository.stored(settings, shard.md5)
    stored.parent.mkdir(parents=True)
    stored.write_bytes(b"x" * shard.bytes)
    stored.chmod(0o444)  # DVC trusts what is read-only
    refused(settings, batch(), DataError, str(stored))


def test_version_id_changes_with_one_value(settings, batch):
    first = commit(settings, "digits", batch(), message="one")
    images, labels = image_arrays(batch())
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
    "text", ["digits@v", "digits@v²", "digits@v٣", "digits@v-1", "digits@v1 ", "digits@v" + "9" * 5000]
)
def test_bad_versions(text):
    with pytest.raises(ConfigError):
        versions.parse_name(text)


def test_good_names():
    assert versions.parse_name("digits@v3") == ("digits", 3)
    assert versions.parse_name("digits") == ("digits", None)
