"""Pictures as the rows of an image dataset."""

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from airloom.datasets.ingest import from_arrays
from airloom.datasets.types.base import shape_of
from airloom.datasets.types.image import LAYOUT, flat_pixels
from airloom.errors import DataError

if TYPE_CHECKING:
    import numpy as np


def image_table(images: "np.ndarray[Any, Any]", labels: "np.ndarray[Any, Any]") -> pa.Table:
    """Images and labels as a table.

    Args:
        images: shape (n, channels, height, width); uint8 stays, other numbers become float32 (0..1 by convention).
        labels: whole numbers or text, shape (n,); or several of a row, such as masks (n, height, width).

    Raises:
        DataError: the shapes do not fit together.
    """
    import numpy as np

    if images.ndim != 4 or not labels.ndim or len(labels) != len(images):
        hint = "images need shape (n, channels, height, width), labels (n,) or several a row"
        raise DataError(f"images of shape {images.shape} do not go with labels of shape {labels.shape}", hint)
    pixels = images if images.dtype == np.uint8 else np.asarray(images, np.float32)
    return from_arrays({"image": pixels, "label": labels}, LAYOUT).to_table()


def image_arrays(table: pa.Table) -> "tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]":
    """The inverse of `image_table`, copied: (n, c, h, w) in the pixels' own type, and labels (n,)."""
    import numpy as np

    field = table.schema.field("image")
    parts = [flat_pixels(chunk) for chunk in table.column("image").chunks]
    images = (
        np.concatenate(parts) if parts else np.empty((0, field.type.list_size), field.type.value_type.to_pandas_dtype())
    )
    return images.reshape(-1, *shape_of(field)), table.column("label").to_numpy().copy()
