"""Texts: one a row, and a class, if there is any."""

from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from airloom.datasets.storage.schema import Layout
from airloom.datasets.types.base import Limits, check_class_label, check_roles, one_input, the_input
from airloom.datasets.types.labels import label_tensor
from airloom.datasets.types.measures import of_label
from airloom.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

MEASURES = ("characters", "words", "non_ascii")


class TextType:
    """One input column of text."""

    name = "text"
    nullable = False
    equal_inputs = "same_split"
    limits: ClassVar[Limits] = {"characters": (1, None), "words": (1, None)}

    def check(self, schema: pa.Schema, layout: Layout) -> None:
        """See `DatasetType`.

        Raises:
            DataError: the columns are not one text, or the label is no class.
        """
        check_roles(schema, layout)
        field = one_input(schema, layout)
        if field.type != pa.large_string():
            raise DataError(
                f"column {field.name!a} is {field.type}; text is needed", "or use the type tabular or generic"
            )
        check_class_label(schema, layout)
        if layout.label in MEASURES:
            raise DataError(f"a label named {layout.label!a} would hide a measure of the texts", "rename the column")

    def profile(self, table: pa.Table, layout: Layout) -> "pd.DataFrame":
        """characters, words (apart by ASCII white space), non_ascii (share of the characters), and the label."""
        import pandas as pd

        self.check(table.schema, layout)
        measured = text_measures(table.column(one_input(table.schema, layout).name))
        frame = {name: column.to_pandas() for name, column in measured.items()}
        label = of_label(layout.label, table.column(layout.label)) if layout.label else {}
        return pd.DataFrame(frame | label)

    def to_tensors(
        self, columns: "dict[str, np.ndarray[Any, Any] | list[Any]]", schema: pa.Schema, layout: Layout
    ) -> tuple[Any, Any]:
        """A list of texts, for a tokenizer, and class numbers (n,) int64; None without a label."""
        return self.to_arrays(columns, schema, layout), label_tensor(columns, schema, layout)

    def to_arrays(
        self, columns: "dict[str, np.ndarray[Any, Any] | list[Any]]", schema: pa.Schema, layout: Layout
    ) -> Any:
        """The texts of `to_tensors`."""
        return the_input(columns, schema, layout)


def text_measures(text: pa.ChunkedArray) -> dict[str, pa.ChunkedArray]:
    """What `TextType.profile` says of texts; the prediction log says the same of those that a model is asked about."""
    characters = pc.utf8_length(text)
    trimmed = pc.ascii_trim_whitespace(text)
    words = pc.list_value_length(pc.ascii_split_whitespace(trimmed))
    return {
        "characters": characters,
        "words": pc.if_else(pc.equal(pc.binary_length(trimmed), 0), 0, words),
        "non_ascii": _non_ascii(text, characters),
    }


def _non_ascii(text: pa.ChunkedArray, characters: pa.ChunkedArray) -> pa.ChunkedArray:
    """The share of characters beyond ASCII; the search runs only over texts that have any."""
    suspect = pc.not_equal(pc.binary_length(text), characters)
    counts = pc.count_substring_regex(pc.if_else(suspect, text, ""), r"[^\x00-\x7F]")
    return pc.divide(counts.cast(pa.float64()), pc.max_element_wise(characters, 1).cast(pa.float64()))
