"""Pictures as files keep them, and as a model takes them: decoded, turned, brought to one mode and size.

Training, evaluation, server and `load_model` call the same function, so that a model sees the same bits in all of them.
Pillow does the work; https://pillow.readthedocs.io/en/stable/reference/ImageOps.html#PIL.ImageOps.fit is `crop`.
"""

import hashlib
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from io import BytesIO
from typing import IO, TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from airloom.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from PIL import Image

Encoded: TypeAlias = "bytes | memoryview | pa.Buffer"
FORMATS = ("PNG", "JPEG", "WEBP")
CHANNELS = {"L": 1, "RGB": 3, "RGBA": 4}
MOST_PIXELS = 89_478_485  # of one picture, as Pillow's own limit
_DEEP = ("I", "F", "I;16")  # modes of more than 8 bits a channel: Pillow would cut them silently
_PLAIN = {"1": "L", "P": "RGB", "CMYK": "RGB", "YCbCr": "RGB"}
_SEEN_SIZE = 64  # pixels of a side at which a picture is measured


class Picture(BaseModel):
    """What becomes of a picture before the model: uint8 of one mode and size, from which float32 0..1 is made.

    A picture with transparency is laid on white, unless the mode is RGBA.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    height: int = Field(ge=1, le=4096, description="pixels")
    width: int = Field(ge=1, le=4096, description="pixels")
    mode: Literal["L", "RGB", "RGBA"] = Field(default="RGB", description="grey, colours, or with transparency")
    fit: Literal["crop", "pad", "stretch"] = Field(
        default="crop", description="what sticks out is cut off, black is put around, or the sides are scaled apart"
    )
    label: Literal["", "mask", "boxes"] = Field(
        default="", description="what of the label lies on the picture, and is brought to the same size"
    )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return CHANNELS[self.mode], self.height, self.width

    def frame(self, data: Encoded, name: str = "the picture", most_pixels: int = MOST_PIXELS) -> "np.ndarray[Any, Any]":
        """uint8 of `shape`.

        Args:
            data: a PNG, JPEG or WebP file.
            name: of it, for messages.
            most_pixels: of it that may be decoded.

        Raises:
            DataError: it is none, not whole, moves, has too many pixels, or more than 8 bits a channel.
        """
        import numpy as np
        from PIL import ImageOps

        with opened(data, name) as image:
            lies = _orientation(image) in _LYING
            wanted = (self.height, self.width) if lies else (self.width, self.height)
            # A JPEG is decoded at the smallest scale that leaves twice the pixels wanted, as Pillow's reducing_gap.
            image.draft(None, _around(image.size, (2 * wanted[0], 2 * wanted[1])))
            if image.width * image.height > most_pixels:
                hint = f"at most {most_pixels} pixels; of a JPEG only as many are decoded as are needed"
                raise DataError(f"{name} is too large: {image.width} x {image.height} pixels", hint)
            whole = _plain(image, self.mode)
            framed = _fitted(ImageOps.exif_transpose(whole), self.width, self.height, self.fit, self.mode)
            made = np.asarray(framed)
        return made.reshape(self.height, self.width, -1).transpose(2, 0, 1)

    def frames(
        self, cells: Sequence[Encoded], first: int = 0, kind: str = "row", most_pixels: int = MOST_PIXELS
    ) -> "np.ndarray[Any, Any]":
        """uint8 (n, channels, height, width).

        Args:
            cells: files.
            first: number of the first one, for messages.
            kind: what they are called there.
            most_pixels: of each that may be decoded.

        Raises:
            DataError: one is no picture; see `frame`.
        """
        import numpy as np

        made = np.empty((len(cells), *self.shape), np.uint8)
        for place, cell in enumerate(cells):
            made[place] = self.frame(cell, f"the picture of {kind} {first + place}", most_pixels)
        return made

    def floats(self, cells: Sequence[Encoded], into: "np.ndarray[Any, Any]") -> None:
        """The same as float32 0..1, into an array (n, channels, height, width) that is there.

        Raises:
            DataError: one is no picture; see `frame`.
        """
        import numpy as np

        frame = np.empty(self.shape, np.uint8)  # in one order, which divides twice as fast
        for place, cell in enumerate(cells):
            frame[:] = self.frame(cell, f"the picture of row {place}")
            np.divide(frame, np.float32(255), out=into[place])


class Seen(NamedTuple):
    """What is measured of a picture: its sides in pixels, as it is looked at, and its mean brightness, 0..1."""

    width: int
    height: int
    brightness: float


_SEEN: dict[bytes, Seen] = {}  # by digest of the file, which costs a tenth of a decode
_SEEN_MOST = 100_000  # 25 MB; more small pictures than a shard has, which is measured when it is closed


def look(data: Encoded, name: str) -> Seen:
    """Measure a picture, decoded as small as its format allows; what was measured lately is not decoded again.

    Raises:
        DataError: see `Picture.frame`.
    """
    digest = hashlib.blake2b(data, digest_size=16).digest()
    seen = _SEEN.get(digest)  # no lock, which a fork could copy while it is held: to measure twice is harmless
    if seen is None:
        seen = _measure(data, name)
        if len(_SEEN) >= _SEEN_MOST:
            _SEEN.clear()
        _SEEN[digest] = seen
    return seen


def _measure(data: Encoded, name: str) -> Seen:
    from PIL import ImageStat

    with opened(data, name) as image:
        width, height = image.size
        if _orientation(image) in _LYING:
            width, height = height, width
        image.draft("L", (_SEEN_SIZE, _SEEN_SIZE))
        grey = _plain(image, "L")
        grey = grey if grey.mode == "L" else _fitted(grey, _SEEN_SIZE, _SEEN_SIZE, "stretch", "L")
        return Seen(width, height, ImageStat.Stat(grey).mean[0] / 255)


def kind_of(file: IO[bytes], name: str) -> tuple[int, int, str]:
    """Width and height, as it is looked at, and mode without palettes: what the header says of a picture.

    Raises:
        DataError: it is no picture.
    """
    from PIL import UnidentifiedImageError

    Image = _pillow()
    try:
        with Image.open(file, formats=FORMATS) as image:
            # Exif behind a PNG's pixels would have them decoded; nobody writes it there.
            lies = (image.format == "JPEG" or "exif" in image.info) and _orientation(image) in _LYING
            width, height = image.size[::-1] if lies else image.size
            mode = "RGBA" if image.has_transparency_data else _PLAIN.get(image.mode, image.mode)
            return width, height, mode
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError) as error:
        raise DataError(f"{name} is no picture: {_reason(error)}") from None


@contextmanager
def opened(data: Encoded, name: str) -> "Iterator[Image.Image]":
    """A picture whose header is sound; what goes wrong in the block is told as an error of the picture.

    Raises:
        DataError: see `Picture.frame`.
    """
    from PIL import UnidentifiedImageError

    Image = _pillow()
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:
                message = f"{name} is too large: {image.width} x {image.height} pixels"
                raise DataError(message, f"at most {MOST_PIXELS} pixels")
            deep = image.mode in _DEEP or any("16" in str(tile.args) for tile in image.tile)
            if deep:
                raise DataError(f"{name} has pixels of more than 8 bits a channel", "save it with 8 bits a channel")
            if getattr(image, "is_animated", False):
                raise DataError(f"{name} is an animation", "save the picture that is meant")
            yield image
    except Image.DecompressionBombError as error:
        raise DataError(f"{name} is too large: {str(error)[:120]}", f"at most {MOST_PIXELS} pixels") from None
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError) as error:
        message = f"{name} is no whole picture: {_reason(error)}"
        raise DataError(message, f"it must be one of {', '.join(FORMATS)}; save it anew") from None


@cache
def _pillow() -> Any:
    """Pillow, without its warning of large pictures: each is refused by name, or small enough."""
    from PIL import Image

    warnings.simplefilter("ignore", Image.DecompressionBombWarning)
    return Image


_ORIENTATION, _LYING = 0x0112, (5, 6, 7, 8)  # Exif's tag, and its values for a picture that lies on its side


def _orientation(image: "Image.Image") -> int:
    return int(image.getexif().get(_ORIENTATION, 1))


def _reason(error: BaseException) -> str:
    text = str(error)
    return "it is of another kind" if "cannot identify" in text else text[:120]


def _around(size: tuple[int, int], wanted: tuple[int, int]) -> tuple[int, int]:
    """The smallest size of the same proportions that covers what is wanted."""
    scale = max(wanted[0] / size[0], wanted[1] / size[1])
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _plain(image: "Image.Image", mode: str) -> "Image.Image":
    """Without palettes, and with its transparency, if any: what can be scaled."""
    if image.has_transparency_data:
        return image if image.mode == "RGBA" else image.convert("RGBA")
    return image if image.mode == mode else image.convert(mode)


def _fitted(image: "Image.Image", width: int, height: int, fit: str, mode: str) -> "Image.Image":
    """Brought to the size, then to the mode: what is transparent is laid on white where the mode has none."""
    from PIL import Image, ImageOps

    size, how = (width, height), Image.Resampling.BILINEAR
    if fit == "stretch":
        small = image.resize(size, how)
    elif fit == "pad":
        small = ImageOps.pad(image, size, how, color=(0, 0, 0, 255) if image.mode == "RGBA" else 0)
    else:
        small = ImageOps.fit(image, size, how)
    if small.mode == "RGBA" and mode != "RGBA":
        small = Image.alpha_composite(Image.new("RGBA", size, (255, 255, 255, 255)), small)
    return small if small.mode == mode else small.convert(mode)
