"""The image classification type: its Arrow schema and the profile that expectations look at."""

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from airloom.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


def image_table(images: "np.ndarray[Any, Any]", labels: "np.ndarray[Any, Any]") -> pa.Table:
    """Images and labels as a table.

    Args:
        images: float32, shape (n, channels, height, width), pixels 0..1.
        labels: int64, shape (n,).

    Raises:
        DataError: the shapes do not fit together.
    """
    import numpy as np

    if images.ndim != 4 or labels.shape != (len(images),):
        hint = "images need shape (n, channels, height, width), labels (n,)"
        raise DataError(f"images of shape {images.shape} do not go with labels of shape {labels.shape}", hint)
    flat = pa.array(np.ascontiguousarray(images, np.float32).reshape(-1))
    pixels = pa.FixedSizeListArray.from_arrays(flat, int(np.prod(images.shape[1:])))
    shape = ",".join(str(size) for size in images.shape[1:])
    field = pa.field("image", pixels.type, nullable=False, metadata={"shape": shape})
    schema = pa.schema([field, pa.field("label", pa.int64(), nullable=False)])
    return pa.Table.from_arrays([pixels, pa.array(labels, pa.int64())], schema=schema)


def image_arrays(table: pa.Table) -> "tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]":
    """The inverse of `image_table`: float32 (n, c, h, w) and int64 (n,)."""
    import numpy as np

    shape = [int(size) for size in table.schema.field("image").metadata[b"shape"].split(b",")]
    column = table.column("image")
    parts = [chunk.flatten().to_numpy() for chunk in column.chunks] or [np.empty(0, np.float32)]
    images = np.concatenate(parts).astype(np.float32).reshape(-1, *shape)
    return images, table.column("label").to_numpy().astype(np.int64)


def profile(table: pa.Table) -> "pd.DataFrame":
    """A few numbers a row, for validation and statistics: pixels, mean intensity, extremes, label.

    Raises:
        DataError: the table is not of the image classification type.
    """
    import pandas as pd

    missing = [name for name in ("image", "label") if name not in table.column_names]
    if missing or b"shape" not in (table.schema.field("image").metadata or {}):
        hint = "build the table with airloom.datasets.types.image_table"
        raise DataError(f"no image classification table: columns {table.column_names}, missing {missing}", hint)
    images, labels = image_arrays(table)
    flat = images.reshape(len(images), -1)
    return pd.DataFrame(
        {
            "pixels": flat.shape[1],
            "mean_intensity": flat.mean(axis=1),
            "lowest": flat.min(axis=1, initial=float("inf")),
            "highest": flat.max(axis=1, initial=float("-inf")),
            "label": labels,
        }
    )
