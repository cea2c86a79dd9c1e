"""Questions to the prediction log: filtered where it is read, ordered by time, and what comes while one looks."""

import itertools
import random
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import hypothesis
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airloom.errors import ConfigError
from airloom.monitoring import moments
from airloom.monitoring import prediction_id as ids
from airloom.monitoring import prediction_query as query
from airloom.monitoring.prediction_log import day, file_name, schema
from airloom.settings import Settings

CHANCE = random.Random(0)
START = int(datetime(2026, 11, 30, 23, 59, 58, tzinfo=UTC).timestamp() * 1000)  # two seconds before midnight


def put(folder: Path, rows: list[tuple[int, str, str, str, str]]) -> None:
    """A file of (millisecond since START, model, version, role, prediction), in the folder of its first row."""
    made = []
    for at, model, version, role, prediction in rows:
        (identity,) = ids.numbered(model, version, START + at, [CHANCE.randrange(ids.NUMBERS)])
        made.append((identity, START + at, model, version, prediction, None, 1.0, 1, role, None, None, None, "drop"))
    made.sort()
    columns = [*zip(*made, strict=True), [None] * len(made), [None] * len(made)]
    arrays = [pa.array(values, field.type) for values, field in zip(columns, schema(), strict=True)]
    first, last = made[0][1], made[-1][1]
    place = folder / day(first)
    place.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(arrays, schema=schema()), place / file_name(first, last, uuid.uuid4().hex[:12]))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, project=tmp_path, database="", tracking_uri="")


def answered(rows: pa.Table) -> list[str]:
    return rows["prediction"].to_pylist()


def test_it_is_asked_by_model_version_role_answer_and_time(settings: Settings) -> None:
    put(settings.prediction_log, [(0, "digits", "1", "champion", "a"), (10, "digits", "2", "canary", "b")])
    put(settings.prediction_log, [(5, "other", "1", "champion", "a"), (2500, "digits", "1", "champion", "c")])
    asked = query.ask(settings, "digits")
    assert answered(query.table(settings, asked)) == ["a", "b", "c"]
    assert answered(query.table(settings, query.ask(settings, "digits/2"))) == ["b"]
    assert answered(query.table(settings, query.ask(settings, role="canary"))) == ["b"]
    assert query.table(settings, query.ask(settings, answer="a"))["model"].to_pylist() == ["digits", "other"]
    between = query.ask(settings, since="2026-11-30T23:59:58.005", until=datetime(2026, 12, 1, tzinfo=UTC))
    assert answered(query.table(settings, between)) == ["a", "b"]
    assert query.table(settings, asked, columns=["prediction", "time"]).column_names == ["prediction", "time"]
    assert sum(part.num_rows for part in query.batches(settings, asked)) == 3
    row = query.records(query.table(settings, query.ask(settings, "digits/2")))[0]
    assert row.time == datetime.fromtimestamp((START + 10) / 1000, UTC)


@hypothesis.settings(deadline=None, max_examples=40)
@given(
    parts=st.lists(st.lists(st.integers(0, 4000), min_size=1, max_size=8), min_size=1, max_size=6),
    last=st.integers(0, 12),
)
def test_the_newest_are_the_end_of_all_in_order(
    tmp_path_factory: pytest.TempPathFactory, parts: list[list[int]], last: int
) -> None:
    folder = tmp_path_factory.mktemp("log")
    settings = Settings(home=folder, project=folder, database="", tracking_uri="")
    number = itertools.count()
    for part in parts:  # several servers write at once: their files overlap
        put(settings.prediction_log, [(at, "m", "1", "champion", str(next(number))) for at in part])
    whole = query.table(settings)
    assert whole["id"].to_pylist() == sorted(whole["id"].to_pylist())
    assert whole.num_rows == sum(map(len, parts))
    newest = query.table(settings, None, last)
    assert newest.num_rows == min(last, whole.num_rows)
    assert newest.equals(whole.slice(whole.num_rows - newest.num_rows))


def test_only_files_that_may_have_the_newest_are_opened(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for at in range(0, 1000, 10):
        put(settings.prediction_log, [(at, "m", "1", "champion", str(at)), (at + 5, "m", "1", "champion", "x")])
    opened = list[Path]()
    scan = query._scan
    monkeypatch.setattr(query, "_scan", lambda paths, *rest: opened.extend(paths) or scan(paths, *rest))
    assert answered(query.table(settings, None, 3)) == ["x", "990", "x"]
    assert len(set(opened)) == 2
    opened.clear()
    asked = query.Question(since=datetime.fromtimestamp((START + 500) / 1000, UTC))
    assert query.table(settings, asked).num_rows == 100
    assert len(opened) == 50


def test_what_comes_is_followed_once(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query, "POLL_SECONDS", 0.01)
    now = int(datetime.now(UTC).timestamp() * 1000) - START
    put(settings.prediction_log, [(now, "m", "1", "champion", "before")])
    coming = query.follow(settings, query.Question(model="m"), query.names(settings))
    assert next(coming).num_rows == 0
    put(settings.prediction_log, [(now + 2, "m", "1", "champion", "b"), (now + 1, "m", "1", "champion", "a")])
    put(settings.prediction_log, [(now + 3, "other", "1", "champion", "c")])
    seen = [answered(next(coming)) for _ in range(3)]
    assert [text for part in seen for text in part] == ["a", "b"]


def test_a_file_that_is_collected_while_one_looks_is_no_error(settings: Settings) -> None:
    put(settings.prediction_log, [(0, "m", "1", "champion", "a")])
    put(settings.prediction_log, [(1, "m", "1", "champion", "b")])
    paths = query.files(settings, query.Question())
    paths[0].unlink()
    assert answered(query._scan(paths, query.Question(), None)) == ["b"]


def test_an_empty_log_is_an_empty_table(settings: Settings) -> None:
    assert query.table(settings).schema.equals(schema())
    assert query.table(settings, None, 5).num_rows == 0
    assert query.table(settings, columns=["prediction"]).column_names == ["prediction"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"model": "digits@champion"}, "an alias moves"),
        ({"model": "../x"}, "'../x' names no model"),
        ({"model": "digits/3", "version": "4"}, "two versions"),
        ({"version": "three"}, "'three' is no number"),
        ({"role": "king"}, "there is no role 'king'.*\n.*champion, canary, shadow"),
        ({"since": "yesterday"}, "since 'yesterday' is no time.*\n.*90s, 10m"),
        ({"until": "99999999d"}, "until '99999999d' is no time"),
        ({"since": "1h", "until": "2h"}, "is not before until"),
    ],
)
def test_a_question_that_cannot_be_is_refused(settings: Settings, words: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        query.ask(settings, **words)


def test_a_time_may_be_said_as_how_long_ago() -> None:
    found = moments.moment("1.5h", "since")
    assert found is not None
    assert abs(datetime.now(UTC) - found - timedelta(hours=1.5)) < timedelta(seconds=5)
    assert moments.moment("2026-11-30T14:00+01:00", "since") == datetime(2026, 11, 30, 13, tzinfo=UTC)
