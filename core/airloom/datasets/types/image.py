"""Images: pixels of one shape, channels first, or whole picture files of any size, and a class, if there is any."""

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from airloom.datasets.storage.schema import Layout
from airloom.datasets.types.base import (
    Limits,
    WrongRow,
    check_class_label,
    check_roles,
    one_input,
    shape_of,
    the_input,
)
from airloom.datasets.types.labels import label_tensor
from airloom.datasets.types.measures import of_label
from airloom.datasets.types.tensors import tensor
from airloom.errors import DataError
from airloom.picture_labels import check_size
from airloom.pictures import Seen, look

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

LAYOUT = Layout("image", label="label")
MEASURES = ("pixels", "mean_intensity", "lowest", "highest")
MEASURES_OF_FILES = ("width", "height", "aspect", "mean_intensity", "bytes")
_LOOKING = 4  # threads; Pillow lets the others run while it decodes


class ImageType:
    """One input column of pixels or of picture files.

    Pixels are fixed-size lists of uint8 (0..255) or float32 (0..1), with the shape c,h,w in the field's metadata. Files
    are the bytes of PNG, JPEG or WebP, as they came; a training function says what size and mode they get.
    """

    name = "image"
    nullable = False
    equal_inputs = "same_split"
    limits: ClassVar[Limits] = {"lowest": (0.0, None), "highest": (None, 1.0)}
    constant = ("pixels",)

    def check(self, schema: pa.Schema, layout: Layout) -> None:
        """See `DatasetType`.

        Raises:
            DataError: the columns are no images, or the label is no class.
        """
        check_roles(schema, layout)
        field = one_input(schema, layout)
        kind = field.type
        check_class_label(schema, layout)
        measures = MEASURES_OF_FILES if pa.types.is_large_binary(kind) else MEASURES
        if layout.label in measures:
            raise DataError(f"a label named {layout.label!a} would hide a measure of the images", "rename the column")
        if pa.types.is_large_binary(kind):
            return
        if not pa.types.is_fixed_size_list(kind) or kind.value_type not in (pa.uint8(), pa.float32()):
            message = f"column {field.name!a} is {kind}; images are fixed-size lists of uint8 or float32"
            raise DataError(message, "build the table with airloom.datasets.ingest.images.image_table")
        shape = shape_of(field)
        if len(shape) != 3 or min(shape) < 1 or shape[0] * shape[1] * shape[2] != kind.list_size:
            message = f"column {field.name!a} has {kind.list_size} values an image and the shape {shape}"
            raise DataError(message, 'say channels, height, width in the field\'s metadata: {"shape": "1,8,8"}')

    def profile(self, table: pa.Table, layout: Layout) -> "pd.DataFrame":
        """pixels (values an image), mean_intensity, lowest, highest (0..1, whatever the pixels' type), and the label.

        A pixel that is no number makes lowest, highest and mean_intensity null. Of files: width and height as they are
        looked at, aspect (width by height), mean_intensity, bytes, and the label.

        Raises:
            DataError: a file is no whole picture; names its row.
        """
        import numpy as np
        import pandas as pd

        self.check(table.schema, layout)
        column = table.column(one_input(table.schema, layout).name)
        if pa.types.is_large_binary(column.type):
            return _profile_of_files(column, table, layout)
        size, scale = column.type.list_size, 255 if column.type.value_type == pa.uint8() else 1
        measured: list[list[Any]] = [[], [], []]
        for chunk in column.chunks:
            for values, measure in zip(measured, pixel_measures(flat_pixels(chunk), scale), strict=True):
                values.append(measure)
        columns = [np.concatenate(values) if values else np.empty(0, np.float32) for values in measured]
        frame = pd.DataFrame(dict(zip(MEASURES[1:], columns, strict=True)))
        frame.insert(0, "pixels", size)
        return _with_label(frame, table, layout)

    def to_tensors(
        self, columns: "dict[str, np.ndarray[Any, Any] | list[Any]]", schema: pa.Schema, layout: Layout
    ) -> tuple[Any, Any]:
        """Images (n, c, h, w) in the pixels' own type, or a list of files, and class numbers (n,) int64, or None."""
        return tensor(self.to_arrays(columns, schema, layout)), label_tensor(columns, schema, layout)

    def to_arrays(
        self, columns: "dict[str, np.ndarray[Any, Any] | list[Any]]", schema: pa.Schema, layout: Layout
    ) -> Any:
        """The images, or the files, of `to_tensors`."""
        images: Any = the_input(columns, schema, layout)
        if isinstance(images, list) or images.ndim == 4:  # gathered rows have their shape already
            return images
        return images.reshape(len(images), *shape_of(one_input(schema, layout)))


def _profile_of_files(column: pa.ChunkedArray, table: pa.Table, layout: Layout) -> "pd.DataFrame":
    import pandas as pd

    masks = table.column(layout.label) if layout.label else column
    has_masks = layout.label and pa.types.is_large_binary(masks.type)

    def measure(place: int) -> Seen:
        try:
            seen = look(column[place].as_buffer(), "the picture")
            if has_masks:
                check_size(masks[place].as_buffer(), seen.width, seen.height)
            return seen
        except DataError as error:
            raise WrongRow(place, error.message, error.hint) from None

    with ThreadPoolExecutor(_LOOKING, thread_name_prefix="airloom-look") as pool:
        seen = list(pool.map(measure, range(len(column))))
    frame = pd.DataFrame(seen, columns=["width", "height", "mean_intensity"])
    frame.insert(2, "aspect", frame["width"] / frame["height"])
    frame["bytes"] = pc.binary_length(column).to_pandas()
    return _with_label(frame, table, layout)


def _with_label(frame: "pd.DataFrame", table: pa.Table, layout: Layout) -> "pd.DataFrame":
    return frame.assign(**of_label(layout.label, table.column(layout.label))) if layout.label else frame


def pixel_measures(flat: "np.ndarray[Any, Any]", scale: int) -> "tuple[np.ndarray[Any, Any], ...]":
    """Mean, lowest and highest value of images (n, pixels); the prediction log measures those it is asked about so.

    Args:
        flat: the pixels.
        scale: what the largest of them is divided by to be 1.
    """
    import numpy as np

    # The sum of a uint8 image fits in 64 bits; adding whole numbers is twice as fast as a mean.
    sums = flat.sum(axis=1, dtype=np.uint64 if scale == 255 else None)
    return tuple(values / np.float32(scale) for values in (sums / flat.shape[1], flat.min(axis=1), flat.max(axis=1)))


def flat_pixels(chunk: pa.FixedSizeListArray) -> "np.ndarray[Any, Any]":
    """(n, pixels) on the memory of the chunk."""
    pixels: np.ndarray[Any, Any] = chunk.flatten().to_numpy()
    return pixels.reshape(len(chunk), chunk.type.list_size)
