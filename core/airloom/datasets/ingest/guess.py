"""The type of a column of text, told by all of its values: the first type that keeps each of them exactly."""

import pyarrow as pa
import pyarrow.compute as pc

from airloom.datasets.ingest.text_values import EMPTY, TEXT, WORDS, fits, without_empty

WHOLE = (pa.int64(), pa.uint64())
UNITS = ("s", "ms", "us", "ns")
FEW = 100  # values that rule out most types before all are looked at
CANDIDATES: tuple[tuple[pa.DataType, tuple[str, ...]], ...] = (
    *((kind, ()) for kind in WHOLE),
    *((pa.bool_(), words) for words in WORDS),
    (pa.date32(), ()),
    *((pa.timestamp(unit), ()) for unit in UNITS),
    *((pa.timestamp(unit, "UTC"), ()) for unit in UNITS),
    *((pa.time32(unit) if unit in ("s", "ms") else pa.time64(unit), ()) for unit in UNITS),
    (pa.float64(), ()),
)


class Guess:
    """What one column may be, after the values seen so far.

    Args:
        is_key: a key is compared as it is written, so that only whole numbers and text can be one: 1.1 is not 1.10.
        decimal: sign between the whole and the fraction of a number.
    """

    def __init__(self, is_key: bool = False, decimal: str = ".") -> None:
        self._left = [c for c in CANDIDATES if c[0] in WHOLE or not is_key]
        self._is_key = is_key
        self._decimal = decimal
        self._values = False
        self.why = ""

    def see(self, column: pa.Array, first: int) -> None:
        """Take more values into account.

        Args:
            column: large_string, null where a cell is empty.
            first: number of its first row, for what is said.
        """
        if not self._left:
            return
        text = column
        left = self._fitting(text) if self._values else []
        if not left:  # at the beginning, or because of a word for an empty cell
            text = pc.drop_null(without_empty(column))
            left = self._fitting(text) if len(text) else self._left
        was_number = not self._values or any(kind == pa.float64() for kind, _ in self._left)
        self._left, self._values = left, self._values or len(text) > 0
        if not self._left and was_number and fits(text, pa.float64(), False, self._decimal):
            self.why = "a key is compared as it is written" if self._is_key else self._spoiler(column, first)
        elif not self._left and was_number and self._decimal == "." and fits(text, pa.float64(), False, ","):
            self.why = "its numbers have a decimal comma, which `--decimal ,` reads"

    def type(self) -> pa.DataType:
        """The type; null where there was no value."""
        if not self._values:
            return pa.null()
        return self._left[0][0] if self._left else TEXT

    def _fitting(self, text: pa.Array) -> list[tuple[pa.DataType, tuple[str, ...]]]:
        few = [candidate for candidate in self._left if self._fits(text.slice(0, FEW), *candidate)]
        return [candidate for candidate in few if self._fits(text, *candidate)]

    def _fits(self, text: pa.Array, kind: pa.DataType, words: tuple[str, ...]) -> bool:
        if words:
            return bool(pc.all(pc.is_in(text, pa.array(words, TEXT))).as_py())
        return fits(text, kind, True, self._decimal)

    def _spoiler(self, column: pa.Array, first: int) -> str:
        """Why a column that looks like numbers is text."""
        for row, value in enumerate(column.to_pylist()):
            cell = pa.array([value], TEXT)
            if value is not None and value not in EMPTY and not fits(cell, pa.float64(), True, self._decimal):
                return f"as a number, {value[:40]!a} in row {first + row} would change"
        return "as numbers, its values would change"
