"""Which encoding a text file has, and its text as UTF-8."""

import codecs
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from airloom.errors import ConfigError, DataError

MARKS = (  # those of UTF-32 begin with those of UTF-16
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
HINT = "name the encoding: --encoding utf-16, cp1252 or latin-1, for example"


def encoding_of(start: bytes, wanted: str) -> str:
    """The wanted encoding, else that of the byte order mark, else utf-8.

    Raises:
        ConfigError: there is no such encoding of text.
    """
    if not wanted:
        return next((name for mark, name in MARKS if start.startswith(mark)), "utf-8")
    try:
        info = codecs.lookup(wanted)
    except (LookupError, ValueError):
        info = None
    if info is None or not info._is_text_encoding:  # zip and base64 are codecs too
        raise ConfigError(f"there is no encoding {wanted[:40]!a}", "for example utf-8, utf-16, cp1252 or latin-1")
    marked = start.startswith(codecs.BOM_UTF8) and info.name == "utf-8"
    return "utf-8-sig" if marked else info.name


def encoding_of_file(path: Path, wanted: str) -> str:
    """See `encoding_of`."""
    with path.open("rb") as file:
        return encoding_of(file.read(4), wanted)


def decode(data: bytes, wanted: str, path: Path) -> str:
    """A whole file's text.

    Raises:
        DataError: naming the byte that is not of the encoding.
        ConfigError: there is no such encoding.
    """
    encoding = encoding_of(data[:4], wanted)
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        byte = data[error.start] if error.start < len(data) else 0
        raise DataError(f"{path}: byte {error.start} is {byte:#04x}, which is no {encoding}", HINT) from None


def utf8_chunks(file: IO[bytes], encoding: str, size: int) -> Iterator[bytes]:
    """The file as UTF-8, without a byte order mark.

    Raises:
        UnicodeError: it is not of the encoding.
    """
    if encoding == "utf-8":  # checked where it is parsed, by line
        while data := file.read(size):
            yield data
        return
    if encoding == "utf-8-sig":
        file.seek(len(codecs.BOM_UTF8))
        yield from utf8_chunks(file, "utf-8", size)
        return
    decoder = codecs.getincrementaldecoder(encoding)()
    while data := file.read(size):
        yield decoder.decode(data).encode()
    yield decoder.decode(b"", final=True).encode()
