"""Pictures as pixels, as a viewer shows them: of files for a dataset, of files or in memory for a model."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from airloom.datasets.ingest.listing import open_plain
from airloom.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

MODES = {"1": "L", "P": "RGB", "CMYK": "RGB", "YCbCr": "RGB", "LA": "RGBA", "PA": "RGBA"}  # the rest stay as they are
CHANNELS = {"L": 1, "RGB": 3, "RGBA": 4}
ORIENTATION, LYING = 0x0112, (5, 6, 7, 8)  # Exif's tag, and its values for a picture that lies on its side


def read(path: Path, shape: tuple[int, ...] = ()) -> "np.ndarray[Any, Any]":
    """uint8 (c, h, w) of a PNG or JPEG file, turned as its Exif tag says, with its transparency.

    The header is looked at first: a bomb, or another size, is refused before it is decoded.

    Args:
        path: of a plain file, no link.
        shape: that it must have, that of the pictures before it; () for any.

    Raises:
        DataError: it is no whole picture, too large, of another shape, or its pixels have no 8 bits a channel.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with open_plain(path) as file, Image.open(file, formats=("PNG", "JPEG")) as image:
            if image.width * image.height > (Image.MAX_IMAGE_PIXELS or 0):
                raise Image.DecompressionBombError(f"{image.width} x {image.height} pixels")
            return pixels(image, str(path), shape)
    except Image.DecompressionBombError as error:
        message = f"{path} is too large: {str(error)[:120]}"
        raise DataError(message, f"at most {Image.MAX_IMAGE_PIXELS} pixels") from None
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:  # what Pillow raises for broken files
        raise DataError(
            f"{path} is no whole image: {str(error)[:120]}", "it must be PNG or JPEG; save it anew"
        ) from None


def pixels(image: "Image", name: str, shape: tuple[int, ...] = ()) -> "np.ndarray[Any, Any]":
    """The same of a picture that Pillow has opened, or that is in memory.

    Args:
        image: the picture.
        name: of it, for messages.
        shape: that it must have; () for any.

    Raises:
        DataError: it is of another shape, or its pixels have no 8 bits a channel.
    """
    import numpy as np
    from PIL import ImageOps

    mode = _mode(name, image)
    lies = image.getexif().get(ORIENTATION) in LYING  # decodes a PNG: its tag may stand behind the pixels
    actual = (CHANNELS[mode], *((image.width, image.height) if lies else (image.height, image.width)))
    if shape and actual != shape:
        message = f"{name} has the shape {actual} (channels, height, width), the images before it {shape}"
        raise DataError(message, "bring all images to one size and colour mode")
    flat = np.asarray(ImageOps.exif_transpose(image).convert(mode))
    return flat.reshape(actual[1], actual[2], actual[0]).transpose(2, 0, 1)


def _mode(name: str, image: "Image") -> str:
    """The mode in which the picture's pixels stay as they are.

    Raises:
        DataError: there is none of 8 bits a channel, or the picture moves.
    """
    deep = any("16" in str(tile.args) for tile in getattr(image, "tile", ()))  # Pillow drops the lower half silently
    mode = MODES.get(image.mode, image.mode)
    if deep or mode not in CHANNELS:
        bits = "pixels of 16 bits a channel" if deep else f"pixels of mode {image.mode}"
        raise DataError(f"{name} has {bits}", "save it with 8 bits a channel")
    if image.format == "PNG" and getattr(image, "is_animated", False):
        raise DataError(f"{name} is an animation", "save the picture that is meant")
    return "RGBA" if "transparency" in image.info else mode
