"""Files that Airloom wrote, whatever has become of them."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airloom.errors import CorruptFile
from airloom.files import check_sqlite, read_json

NONSENSE = {
    "nothing": b"",
    "blanks": b" \n",
    "half": b'{"a": 1, "b',
    "a list": b"[1]",
    "null": b"null",
    "bytes": bytes(range(256)),
    "deep": b"[" * 100_000,
    "deep below": b'{"a":' * 100_000,
}
nonsense = pytest.mark.parametrize("data", NONSENSE.values(), ids=NONSENSE)


@nonsense
def test_nonsense_is_named_in_one_line_with_what_to_do(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "record.json"
    path.write_bytes(data)
    with pytest.raises(CorruptFile) as caught:
        read_json(path, "write it anew")
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint == "write it anew"


def test_a_folder_in_its_place_is_named_too(tmp_path: Path) -> None:
    with pytest.raises(CorruptFile, match="Is a directory"):
        read_json(tmp_path, "move it away")


def test_no_file_is_no_record(tmp_path: Path) -> None:
    assert read_json(tmp_path / "none.json", "") is None


@given(st.one_of(st.binary(max_size=40), st.text(max_size=40).map(str.encode)))
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_a_mapping_or_named(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "record.json"
    path.write_bytes(data)
    try:
        assert read_json(path, "") == json.loads(data)
    except CorruptFile as error:
        assert str(path) in error.message


@pytest.mark.parametrize("data", [b"nonsense", b"SQLite format 4\x00", bytes(4096)])
def test_what_is_no_database_is_named_before_a_library_opens_it(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.db").write_bytes(data)
    with pytest.raises(CorruptFile, match=r"a\.db is no SQLite database"):
        check_sqlite(f"sqlite:///{tmp_path / 'a.db'}")
    assert (tmp_path / "a.db").read_bytes() == data


def test_a_database_that_is_not_there_yet_or_elsewhere_is_none_of_ours(tmp_path: Path) -> None:
    (tmp_path / "new.db").touch()
    for address in (f"sqlite:///{tmp_path / 'new.db'}", f"sqlite:///{tmp_path / 'none.db'}", "postgresql://a/b"):
        check_sqlite(address)
