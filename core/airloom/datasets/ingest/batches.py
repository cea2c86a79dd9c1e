"""What ingestion takes and what it returns."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import pyarrow as pa

from airloom.datasets.ingest.type_names import parse_type
from airloom.datasets.storage.schema import Layout
from airloom.errors import ConfigError


@dataclass(frozen=True)
class Reading:
    """How the values are written, where the caller says it. What is left out the file tells, and it is said.

    Attributes:
        columns: type by column, as `type_names.parse_type` takes it. Its numbers may be rounded and written in any
            way; those of other columns are kept exactly or refused.
        encoding: of CSV, JSON lines and texts; "" is that of the byte order mark, else UTF-8.
        delimiter: of CSV; "" is a comma, in `.tsv` a tab.
        decimal: sign between the whole and the fraction of CSV's numbers.
        channels: "first" or "last", where the channels of images stand; "" is first, and a shape against it is refused.
        unlabelled: what happens to rows without a label.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    encoding: str = ""
    delimiter: str = ""
    decimal: str = "."
    channels: str = ""
    unlabelled: str = "refuse"

    def __post_init__(self) -> None:
        """Check what can be said of any file.

        Raises:
            ConfigError: the decimal sign, the channels or what becomes of unlabelled rows is none of the known.
        """
        for option, value, known in (
            ("decimal", self.decimal, (".", ",")),
            ("channels", self.channels, ("", "first", "last")),
            ("unlabelled", self.unlabelled, ("refuse", "drop")),
        ):
            if value not in known:
                hint = f"one of {', '.join(map(repr, filter(None, known)))}"
                raise ConfigError(f"--{option} {value[:20]!a} is not known", hint)

    @cached_property
    def types(self) -> dict[str, pa.DataType]:
        """The types of the named columns.

        Raises:
            ConfigError: there is no such type.
        """
        return {name: parse_type(kind) for name, kind in self.columns.items()}


@dataclass(frozen=True)
class Batches:
    """Rows on their way in: checked, in stored form, read once and a few MB at a time.

    Errors in later rows are raised while `batches` is read. `source` says where they come from, `notes` what was found
    out or left out; it grows while `batches` is read.
    """

    schema: pa.Schema
    layout: Layout
    batches: Iterator[pa.RecordBatch]
    source: str
    notes: list[str] = field(default_factory=list)

    def to_table(self) -> pa.Table:
        """All rows that are left, in memory."""
        return pa.Table.from_batches(self.batches, schema=self.schema)


@dataclass(frozen=True)
class Wanted:
    """What the caller says of the columns; an empty type or label is found out from the rows.

    `schema` is that of the dataset to which the rows go: then they must fit it, and nothing is guessed. `classes` are
    the names that labels may have; without them any. `notes` takes what a reader has to say.
    """

    type: str = ""
    label: str = ""
    key: str = ""
    split: str = ""
    parts: Mapping[str, list[str]] = field(default_factory=dict)
    schema: pa.Schema | None = None
    classes: tuple[str, ...] = ()
    reading: Reading = Reading()
    notes: list[str] = field(default_factory=list)

    def names(self, column: str) -> bool:
        """Whether the caller or the dataset names this column."""
        known = self.schema.names if self.schema is not None else ()
        return column in (self.label, self.key, self.split, *self.reading.columns, *known)


@dataclass(frozen=True)
class Part:
    """One file, or something like it: its name for messages, its batches, given the schema that they must have.

    `first` is the number of its first row: 0 as in arrays, 2 below the header of CSV, 1 in JSON lines.
    """

    source: str
    open: Callable[[pa.Schema | None], Iterable[pa.RecordBatch]]
    first: int = 0
