"""Late ground truth: what a prediction should have said, by its id or by a key of one's own; see docs/adr/0062.

A row is what one source said of one prediction at one time. Nothing is ever changed or removed: a label that says
otherwise is another row, and `label_rule` tells which counts. To say the same again adds nothing.
"""

import hashlib
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    delete,
    insert,
    select,
)

from airloom import database
from airloom.errors import ConfigError
from airloom.monitoring import prediction_id
from airloom.monitoring.label_rule import Label, check_text
from airloom.names import is_prediction

ID, REQUEST, INPUT = "id", "request", "input:"
LONGEST_KEY, LONGEST_SOURCE = 256, 100
TOGETHER = 500  # subjects in one question
TABLE, SOURCES = "prediction_labels", "label_sources"

metadata = MetaData()
rows = Table(
    TABLE,
    metadata,
    Column("digest", String(64), primary_key=True),  # of what is said: the same is one row, however often it comes
    Column("model", String(256), nullable=False),  # by its name in the registry; empty where the id tells it
    Column("version_hash", BigInteger),  # of the id
    Column("way", String(LONGEST_KEY + 8), nullable=False),  # `Label.by`
    Column("subject", String(LONGEST_KEY), nullable=False),
    Column("predicted", Float(53)),
    Column("label", Text, nullable=False),
    Column("source", String(LONGEST_SOURCE), nullable=False),
    Column("found", Float(53), nullable=False),  # seconds since 1970, as all times here
    Column("added", Float(53), nullable=False),
    Index("prediction_labels_of_subject", "subject", "way"),
    Index("prediction_labels_of_version", "version_hash", "predicted"),
    Index("prediction_labels_of_model", "model", "way"),
)
sources = Table(
    SOURCES,
    metadata,
    Column("source", String(LONGEST_SOURCE), primary_key=True),
    Column("place", Integer, nullable=False),  # 0 is trusted most
)


@dataclass(frozen=True)
class NewLabel:
    """A label on its way in.

    Attributes:
        subject: a prediction's id, or a key.
        text: as `label_rule.canonical` writes it.
        source: who says so.
        found: seconds since 1970 when it was known; None: now, unless the source's last word is the same already.
    """

    subject: str
    text: str
    source: str
    found: float | None = None


@dataclass(frozen=True)
class Added:
    """What became of new labels.

    Attributes:
        added: how many are new.
        known: how many had been said before, by the same source.
        otherwise: how many of the new ones say something else than a label that was there.
    """

    added: int
    known: int
    otherwise: int


def check_subject(subject: str, by: str) -> str:
    """A prediction's id in small letters, or a key as it is.

    Args:
        subject: what a person gives.
        by: `Label.by`.

    Raises:
        ValueError: it is none; the message goes behind the row's number.
    """
    if by == ID:
        text = subject.lower()
        if not is_prediction(text):
            raise ValueError(f"{subject[:60]!r} is no id of a prediction; `prediction_ids` of an answer has them")
        prediction_id.milliseconds(text)  # a UUID of another version
        return text
    if not 0 < len(subject) <= LONGEST_KEY:
        raise ValueError(f"a key of {len(subject)} characters; it needs 1 to {LONGEST_KEY}")
    return check_text(subject)


def check_source(source: str) -> str:
    """The name of a source.

    Raises:
        ConfigError: it is empty, too long, or has signs that cannot be printed.
    """
    if not 0 < len(source) <= LONGEST_SOURCE or not source.isprintable():
        hint = f"1 to {LONGEST_SOURCE} printable characters: clinic, 'Ada <ada@example.org>'"
        raise ConfigError(f"the source {source[:60]!a} is no name", hint)
    return source


def add(
    address: str, new: Sequence[NewLabel], *, by: str = ID, model: str = "", patience: float = database.PATIENCE
) -> Added:
    """Keep labels, all or none. To be killed and called again adds nothing twice.

    Args:
        address: of the database.
        new: checked by `check_subject`, `check_source` and `label_rule.canonical`.
        by: what their subjects are.
        model: by its name in the registry; needed for keys, as an id tells it.
        patience: seconds that the database may be away.
    """
    now, model = time.time(), "" if by == ID else model

    def work() -> Added:
        engine = database.engine(address, metadata)
        with engine.begin() as connection:
            count = Added(0, 0, 0)
            for at in range(0, len(new), TOGETHER):
                part = _add(connection, new[at : at + TOGETHER], by, model, now)
                count = Added(count.added + part.added, count.known + part.known, count.otherwise + part.otherwise)
            return count

    return database.patiently(work, patience)


def _add(connection: Connection, new: Sequence[NewLabel], by: str, model: str, now: float) -> Added:
    subjects = sorted({label.subject for label in new})
    wanted = (rows.c.way == by) & (rows.c.model == model) & rows.c.subject.in_(subjects)
    said: dict[str, set[str]] = {}
    last: dict[tuple[str, str], tuple[float, float, str]] = {}
    for row in connection.execute(select(rows).where(wanted)):
        said.setdefault(row.subject, set()).add(row.label)
        pair, word = (row.subject, row.source), (row.found, row.added, row.label)
        last[pair] = max(last.get(pair, word), word)
    values, known, otherwise = {}, 0, 0
    for label in new:
        pair = (label.subject, label.source)
        if label.found is None and pair in last and last[pair][2] == label.text:
            known += 1
            continue
        found = now if label.found is None else label.found
        digest = _digest(model, by, label, found)
        if digest in values:
            known += 1
            continue
        values[digest] = _row(digest, label, found, by, model, now)
        otherwise += bool(said.get(label.subject, set()) - {label.text})
        said.setdefault(label.subject, set()).add(label.text)
        last[pair] = max(last.get(pair, (found, now, label.text)), (found, now, label.text))
    if not values:
        return Added(0, known, 0)
    made = connection.execute(_unless_there(connection).on_conflict_do_nothing(), list(values.values())).rowcount
    made = len(values) if made < 0 else made  # a driver that does not count
    return Added(made, known + len(values) - made, min(otherwise, made))


def _unless_there(connection: Connection) -> Any:
    """An insert that leaves a row alone which another writer made meanwhile."""
    if connection.dialect.name == "sqlite":
        from sqlalchemy.dialects import sqlite

        return sqlite.insert(rows)
    from sqlalchemy.dialects import postgresql

    return postgresql.insert(rows)


def _digest(model: str, by: str, label: NewLabel, found: float) -> str:
    said = [model, by, label.subject, label.source, label.text, found]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def _row(digest: str, label: NewLabel, found: float, by: str, model: str, now: float) -> dict[str, Any]:
    told = by == ID
    return {
        "digest": digest,
        "model": model,
        "version_hash": prediction_id.hash_in(label.subject) if told else None,
        "way": by,
        "subject": label.subject,
        "predicted": prediction_id.milliseconds(label.subject) / 1000 if told else None,
        "label": label.text,
        "source": label.source,
        "found": found,
        "added": now,
    }


def of_versions(address: str, hashes: Iterable[int], first: float = 0.0, last: float = 1e12) -> list[Label]:
    """The labels by id of some model versions' predictions with `first <= time < last`.

    Args:
        address: of the database.
        hashes: `prediction_id.short_hash` of each version.
        first: seconds since 1970.
        last: the same.
    """
    wanted = rows.c.version_hash.in_(sorted(set(hashes))) & (rows.c.predicted >= first) & (rows.c.predicted < last)
    return _labels(address, wanted)


def of_model(address: str, model: str) -> list[Label]:
    """The labels by a key of one's own that were given for a model, by its name in the registry."""
    return _labels(address, (rows.c.model == model) & (rows.c.way != ID))


def of_id(address: str, identity: str) -> list[Label]:
    """The labels of one prediction, by its id."""
    return _labels(address, (rows.c.subject == identity.lower()) & (rows.c.way == ID))


def _labels(address: str, wanted: Any) -> list[Label]:
    columns = (rows.c[name] for name in ("subject", "label", "source", "found", "added", "way", "predicted"))
    asked = select(*columns).where(wanted).order_by(rows.c.found, rows.c.digest)
    with database.engine(address, metadata).connect() as connection:
        return [Label(*row) for row in connection.execute(asked)]


def trust(address: str, names: Sequence[str]) -> None:
    """Say which sources are trusted more than others, and which of these most; replaces what was said before.

    Args:
        address: of the database.
        names: the most trusted first. All that are not named come after these, as equals.

    Raises:
        ConfigError: a name is none, or stands there twice.
    """
    for name in names:
        check_source(name)
    if len(set(names)) < len(names):
        twice = next(name for name in names if list(names).count(name) > 1)
        raise ConfigError(f"the source {twice[:60]!r} stands there twice", "name each once, the most trusted first")
    with database.engine(address, metadata).begin() as connection:
        connection.execute(delete(sources))
        if names:
            places = [{"source": name, "place": place} for place, name in enumerate(names)]
            connection.execute(insert(sources), places)


def trusted(address: str) -> Mapping[str, int]:
    """The place of each source that `trust` named, 0 for the most trusted."""
    with database.engine(address, metadata).connect() as connection:
        return {name: place for name, place in connection.execute(select(sources.c.source, sources.c.place))}
