"""Labels that lie on a picture, masks and boxes, brought to the frame that the picture is brought to.

`Picture(label="mask")` says that the label of a picture is a mask of its own size, as one looks at it (turned by Exif):
a PNG file of one channel, or rows of whole numbers. Its values are classes, so each pixel of the frame has the value of
the nearest one. `label="boxes"`: a list of boxes, (left, top, right, bottom, …) in pixels of the picture; what stands
behind the four stays, such as a class. Loader and evaluation call the same function.
"""

from collections.abc import Sequence
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np

from airloom.errors import DataError
from airloom.pictures import Encoded, Picture, kind_of, opened

Array = np.ndarray[Any, Any]
AROUND = 255  # of a mask, where `fit="pad"` puts black around the picture: segmentation counts it for nothing
_ONE_CHANNEL = ("1", "L", "P")  # of a palette the numbers are meant, and not the colours


class Placement(NamedTuple):
    """Which part of a picture, in its pixels, becomes which part of the frame."""

    left: float
    top: float
    width: float
    height: float
    at_x: int
    at_y: int
    out_width: int
    out_height: int


def placed(picture: Picture, width: int, height: int) -> Placement:
    """Where a picture of some size comes to lie, as Pillow's `ImageOps.fit` and `pad` place it.

    A JPEG may have been decoded smaller before, so the picture can lie by a part of a pixel elsewhere.

    Args:
        picture: the frame.
        width: of the picture, in pixels as one looks at it.
        height: likewise.
    """
    wide, high = picture.width, picture.height
    if picture.fit == "crop":
        cut_width, cut_height = min(float(width), height * wide / high), min(float(height), width * high / wide)
        return Placement((width - cut_width) / 2, (height - cut_height) / 2, cut_width, cut_height, 0, 0, wide, high)
    if picture.fit == "pad":
        wide = min(wide, max(1, round(width / height * high)))
        high = min(high, max(1, round(height / width * wide))) if wide == picture.width else high
    at = round((picture.width - wide) / 2), round((picture.height - high) / 2)
    return Placement(0, 0, width, height, *at, wide, high)


def framed(picture: Picture, files: Sequence[Encoded], labels: Any, first: int = 0) -> Any:
    """The labels of pictures as they lie in the frame; as they are, where the label is none that lies there.

    Args:
        picture: the frame, and what the label is.
        files: the pictures.
        labels: of each picture; None: there are none.
        first: number of the first row, for messages.

    Returns:
        Masks int64 (n, height, width), or a list of boxes float32 (k, 4 or more) for each picture; those that the frame
        cuts off are left out, others are cut.

    Raises:
        DataError: a label is no mask of the picture's size, or are no boxes; names the row.
    """
    if labels is None or not picture.label:
        return labels
    rows: list[Array] = []
    for place, (file, label) in enumerate(zip(files, labels, strict=True)):
        row = f"row {first + place}"
        width, height, _ = kind_of(BytesIO(file), f"the picture of {row}")
        at = placed(picture, width, height)
        rows.append(
            _boxes(at, label, row) if picture.label == "boxes" else _mask(picture, at, width, height, label, row)
        )
    if picture.label == "boxes":
        return rows
    return np.stack(rows) if rows else np.zeros((0, *picture.shape[1:]), np.int64)


def check_size(mask: Encoded, width: int, height: int) -> None:
    """Refuse a mask file that is none for a picture, by its header.

    Args:
        mask: a PNG file.
        width: of the picture.
        height: likewise.

    Raises:
        DataError: it is of another size, or no picture of one channel.
    """
    with opened(mask, "the mask") as image:
        _check(image.size, (width, height), "the mask")
        if image.format != "PNG" or image.mode not in _ONE_CHANNEL:
            hint = "save the number of each pixel's class, 8 bits, as a PNG of one channel"
            raise DataError(f"the mask is {image.format} with pixels of mode {image.mode}", hint)


def _check(size: tuple[int, int], wanted: tuple[int, int], what: str) -> None:
    if size != wanted:
        message = f"{what} has {size[0]} x {size[1]} pixels, and its picture {wanted[0]} x {wanted[1]}"
        raise DataError(message, "a mask has the size of its picture, as one looks at it (turned as its Exif tag says)")


def _mask(picture: Picture, at: Placement, width: int, height: int, label: Any, row: str) -> Array:
    size = width, height
    values = _values(label, size, row)
    if values.ndim != 2 or values.dtype.kind not in "iub":
        raise DataError(f"the mask of {row} is no rows of whole numbers", "give the number of each pixel's class")
    _check((values.shape[1], values.shape[0]), size, f"the mask of {row}")
    x = _nearest(at.left, at.width, at.out_width, width)
    y = _nearest(at.top, at.height, at.out_height, height)
    made = np.full(picture.shape[1:], AROUND, np.int64)
    made[at.at_y : at.at_y + at.out_height, at.at_x : at.at_x + at.out_width] = values[y[:, None], x]
    return made


def _values(label: Any, size: tuple[int, int], row: str) -> Array:
    if not isinstance(label, bytes | memoryview):
        try:
            return np.asarray(label)
        except ValueError:
            raise DataError(f"the mask of {row} is ragged", "give as many numbers in each of its rows") from None
    try:
        check_size(label, *size)
        with opened(label, "the mask") as image:
            return np.asarray(image)
    except DataError as error:
        raise DataError(error.message.replace("the mask", f"the mask of {row}", 1), error.hint) from None


def _nearest(start: float, length: float, count: int, most: int) -> Array:
    """The pixel under the middle of each of `count` pixels."""
    places: Array = np.floor(start + (np.arange(count) + 0.5) * (length / count)).astype(np.int64).clip(0, most - 1)
    return places


def _boxes(at: Placement, label: Any, row: str) -> Array:
    try:
        boxes = np.array(list(map(list, label or [])), np.float64)
    except (TypeError, ValueError):
        boxes = np.zeros(1)
    if not boxes.size:
        return np.zeros((0, 4), np.float32)
    if boxes.ndim != 2 or boxes.shape[1] < 4 or not np.isfinite(boxes).all():
        raise DataError(f"the label of {row} is no list of boxes", "give (left, top, right, bottom) of each, in pixels")
    left, top, right, bottom = boxes[:, :4].T
    if len(wrong := np.flatnonzero((right <= left) | (bottom <= top))):
        message = f"box {wrong[0]} of {row} is {boxes[wrong[0], :4].tolist()}"
        raise DataError(message, "left is less than right, and top, counted from above, less than bottom")
    for ends, start, length, first, count in (
        ([0, 2], at.left, at.width, at.at_x, at.out_width),
        ([1, 3], at.top, at.height, at.at_y, at.out_height),
    ):
        boxes[:, ends] = np.clip((boxes[:, ends] - start) * (count / length), 0, count) + first
    there = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return boxes[there].astype(np.float32)
