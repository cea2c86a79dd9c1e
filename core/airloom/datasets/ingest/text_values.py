"""Text as numbers and times: exactly, or not at all.

A text becomes a value only where writing the value back gives the same digits. `00501` and `0x10` are no whole numbers,
`1e5` is no fraction (programs write `1e+05`), a time with an offset other than UTC's is no time. Where a person names
the type, numbers may be written in any way and fractions are rounded; whole numbers never are.
"""

import re
from bisect import bisect_left
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

TEXT = pa.large_string()
# What programs write for an empty cell of numbers or times: pyarrow's own list.
EMPTY = ["", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"]
EMPTY += ["N/A", "NA", "NULL", "NaN", "n/a", "nan", "null"]
WORDS = (("true", "false"), ("True", "False"), ("TRUE", "FALSE"))

_WHOLE = r"(0|[1-9][0-9]*)"
_FRACTION = rf"-?({_WHOLE}(\.[0-9]*)?|{_WHOLE}?\.[0-9]+([eE][+-]?[0-9]+)?|{_WHOLE}\.[0-9]*[eE][+-]?[0-9]+"
_FRACTION += rf"|{_WHOLE}[eE][+-][0-9]+|[iI]nf(inity)?)"
_ANY_FRACTION = r"[+-]?(([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|[iI]nf(inity)?)"
_DATE, _TIME = "[0-9]{4}-[0-9]{2}-[0-9]{2}", r"[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?"
_STAMP = rf"{_DATE}[ T][0-9]{{2}}:[0-9]{{2}}(:[0-9]{{2}}(\.[0-9]{{1,9}})?)?"
DIGITS = {16: 3, 32: 6, 64: 15}  # decimal digits that a float of so many bits always gives back


class Misfit(Exception):
    """A text that cannot become the value: its place in the column, the text, and what it would become.

    `curable` says that it does become that where a person names the type.
    """

    def __init__(self, row: int, value: str, reason: str, curable: bool = False) -> None:
        super().__init__(f"{value!a} does not fit" + (f", {reason}" if reason else ""))
        self.row = row
        self.value = value
        self.reason = reason
        self.curable = curable


def convert(column: pa.Array, kind: pa.DataType, *, exact: bool = True, decimal: str = ".") -> pa.Array:
    """Text as values of a type; text itself stays as it is, the rest takes the words of `EMPTY` for empty cells.

    Args:
        column: large_string.
        kind: the type.
        exact: only what would be written back with the same digits; False: as a person said.
        decimal: sign between the whole and the fraction of a number.

    Raises:
        Misfit: naming the first text that does not fit.
    """
    if kind == TEXT or pa.types.is_large_binary(kind):
        return column.cast(kind)
    try:
        return _values(column, kind, exact, decimal)  # most columns have no word for an empty cell
    except pa.ArrowInvalid:
        text = without_empty(column)
    try:
        return _values(text, kind, exact, decimal)
    except pa.ArrowInvalid:
        row = bisect_left(
            range(len(text) - 1), True, key=lambda n: not fits(text.slice(0, n + 1), kind, exact, decimal)
        )
        value = str(text[row].as_py())
        raise Misfit(row, value[:80], *_reason(text.slice(row, 1), kind, exact, decimal)) from None


def as_written(text: str, kind: pa.DataType) -> Any:
    """The one value of a type that is written as this text.

    Raises:
        Misfit: there is none.
    """
    return convert(pa.array([text], TEXT), kind)[0].as_py()


def without_empty(column: pa.Array) -> pa.Array:
    """The column with null for the words of `EMPTY`."""
    return pc.if_else(pc.is_in(column, pa.array(EMPTY, TEXT)), pa.scalar(None, TEXT), column)


def fits(text: pa.Array, kind: pa.DataType, exact: bool = True, decimal: str = ".") -> bool:
    """Whether all texts can become values of the type."""
    try:
        _values(text, kind, exact, decimal)
    except pa.ArrowInvalid:
        return False
    return True


def _reason(cell: pa.Array, kind: pa.DataType, exact: bool, decimal: str) -> tuple[str, bool]:
    """What the text would become, and whether a person may say so."""
    if exact and fits(cell, kind, False, decimal):
        return f"it would become {convert(cell, kind, exact=False, decimal=decimal)[0].as_py()!s:.40}", True
    if pa.types.is_floating(kind) and re.fullmatch("[+-]?[0-9]+", str(cell[0].as_py())):
        return f"it would become {cell.cast(kind)[0].as_py():.0f}", False
    return "", False


def _values(text: pa.Array, kind: pa.DataType, exact: bool, decimal: str) -> pa.Array:
    if pa.types.is_integer(kind):
        values = text.cast(kind)
        if exact and not values.cast(TEXT).equals(text):
            raise pa.ArrowInvalid("other digits")
        return values
    if pa.types.is_floating(kind):
        return _floats(_pointed(text, decimal), kind, exact)
    if pa.types.is_decimal(kind):
        return _pointed(text, decimal).cast(kind)
    if pa.types.is_boolean(kind):
        if exact:
            _match(text, "|".join(word for words in WORDS for word in words))
        return text.cast(kind)
    if pa.types.is_date(kind):
        _match(text, _DATE)
        return text.cast(pa.date32()).cast(kind)
    if pa.types.is_timestamp(kind):
        if exact:
            _match(text, _STAMP + (r"(Z|\+00:00)" if kind.tz else ""))
        return text.cast(kind)
    if pa.types.is_time(kind):
        _match(text, _TIME)
        return (
            pc.binary_join_element_wise(pa.scalar("1970-01-01 ", TEXT), text, pa.scalar("", TEXT))
            .cast(_stamp(kind))
            .cast(kind)
        )
    if pa.types.is_null(kind) and text.null_count == len(text):
        return pa.nulls(len(text))
    raise pa.ArrowInvalid("text does not become that")


def _stamp(kind: pa.DataType) -> pa.DataType:
    return pa.timestamp(kind.unit)


def _match(text: pa.Array, pattern: str) -> None:
    if pc.all(pc.match_substring_regex(text, rf"^({pattern})$")).as_py() is False:
        raise pa.ArrowInvalid("of another form")


def _pointed(text: pa.Array, decimal: str) -> pa.Array:
    """Numbers with a point, as Arrow reads them."""
    if decimal == ".":
        return text
    if pc.any(pc.match_substring(text, ".")).as_py():
        raise pa.ArrowInvalid("a point where the decimal sign is another")
    return pc.replace_substring(text, decimal, ".")


def _floats(text: pa.Array, kind: pa.DataType, exact: bool) -> pa.Array:
    values = text.cast(kind)
    if pc.any(pc.is_nan(values)).as_py():
        raise pa.ArrowInvalid("nan is an empty cell")
    other = pc.not_equal(values.cast(TEXT), text)
    if not pc.any(other).as_py():
        return values
    written, read = text.filter(other), values.filter(other)
    _match(written, _FRACTION if exact else _ANY_FRACTION)
    doubtful = pc.greater(pc.binary_length(written), DIGITS[kind.bit_width])
    if exact:
        doubtful = pc.or_(doubtful, pc.match_substring_regex(written, "[eE]"))
    else:
        doubtful = pc.and_(doubtful, pc.match_substring_regex(written, "^[+-]?[0-9]+$"))
    doubted = read.filter(doubtful)
    cells = zip(written.filter(doubtful).to_pylist(), doubted.to_pylist(), doubted.cast(TEXT).to_pylist(), strict=True)
    if not all(_same_digits(*cell) for cell in cells):
        raise pa.ArrowInvalid("other digits")
    return values


def _same_digits(text: str, value: float, shortest: str) -> bool:
    """Whether the value, written with as many digits as the text, or with as few as tell it, is the text's number.

    Those are not always the same: the float 2 ** -24 is written 5.960464477539063e-08, and ends with 25, which is
    rounded down to …062.
    """
    written = Decimal(text)
    if not written.is_finite():
        return Decimal(value) == written
    if Decimal(shortest) == written:
        return True
    digits = len(written.as_tuple().digits)
    return Decimal(f"{value:.{digits - 1}e}") == written


def narrow(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """float64 as a narrower float that is written with the same digits.

    Raises:
        Misfit: naming the first number that is not.
    """
    values = column.cast(kind)
    row = pc.index(pc.equal(column.cast(TEXT), values.cast(TEXT)), False).as_py()
    if row >= 0:
        raise Misfit(row, str(column[row].as_py()), f"it would become {values[row].as_py()!r}")
    return values
