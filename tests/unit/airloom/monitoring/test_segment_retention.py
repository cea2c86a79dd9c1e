"""Which files of the prediction log go: by age, then the oldest by size; and nothing else."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.monitoring.prediction_log import day, file_name
from airloom.monitoring.segment_retention import Limits, expire

DAY = 86_400_000
NOW = 20_000 * DAY


def put(folder: Path, last: int, size: int = 1000) -> Path:
    place = folder / day(last)
    place.mkdir(parents=True, exist_ok=True)
    path = place / file_name(last - 1, last, f"{len(list(folder.rglob('*'))):012x}")
    path.write_bytes(b"x" * size)
    return path


def test_what_is_older_than_so_many_days_goes_and_its_folder(tmp_path: Path) -> None:
    old, young = put(tmp_path, NOW - 3 * DAY), put(tmp_path, NOW - DAY)
    other = tmp_path / "date=1999-01-01" / "notes.txt"
    other.parent.mkdir()
    other.write_text("a person's")
    assert expire(tmp_path, Limits(days=2), NOW / 1000) == [old.name]
    assert (old.parent.exists(), young.exists(), other.exists()) == (False, True, True)


def test_no_limit_removes_nothing(tmp_path: Path) -> None:
    put(tmp_path, DAY)
    assert expire(tmp_path, Limits(), NOW / 1000) == []
    assert expire(tmp_path / "no log yet", Limits(1, 1), NOW / 1000) == []


@settings(deadline=None, max_examples=40)
@given(sizes=st.lists(st.integers(1, 5000), min_size=1, max_size=12), room=st.integers(1, 20_000))
def test_the_newest_that_fit_are_kept(tmp_path_factory: pytest.TempPathFactory, sizes: list[int], room: int) -> None:
    folder = tmp_path_factory.mktemp("log")
    paths = [put(folder, NOW - 1000 * place, size) for place, size in enumerate(sizes)]  # the newest first
    gone = expire(folder, Limits(gigabytes=room / 1e9), NOW / 1000)
    fitting = sum(sum(sizes[: place + 1]) <= room for place in range(len(sizes)))
    assert [path.exists() for path in paths] == [place < fitting for place in range(len(sizes))]
    assert gone == [path.name for path in paths[fitting:]][::-1]
