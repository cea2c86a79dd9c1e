"""Tabular data: numbers, categories and times in flat columns; any of them may be empty."""

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from airloom.datasets.storage.schema import Layout
from airloom.datasets.types.base import check_roles
from airloom.datasets.types.labels import label_tensor
from airloom.datasets.types.measures import series
from airloom.datasets.types.tensors import tensor
from airloom.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

SAY = "leave it out, or say the type: --column NAME=TYPE"


class TabularType:
    """Flat columns: numbers, booleans, text and times. The label may be any of them, or absent."""

    name = "tabular"
    nullable = True

    def check(self, schema: pa.Schema, layout: Layout) -> None:
        """See `DatasetType`.

        Raises:
            DataError: a column is not flat.
        """
        check_roles(schema, layout)
        for field in schema:
            kind = field.type
            if pa.types.is_null(kind):
                raise DataError(f"column {field.name!a} has no value from which to tell its type", SAY)
            if not is_flat(kind):
                message = f"column {field.name!a} is {kind}; tabular columns are numbers, text or times"
                raise DataError(message, "leave it out, or use the type generic")

    def profile(self, table: pa.Table, layout: Layout) -> "pd.DataFrame":
        """Each column but key and split as it is: numbers as numbers, categories as text, dates as times."""
        import pandas as pd

        self.check(table.schema, layout)
        names = [name for name in table.column_names if name not in (layout.key, layout.split)]
        return pd.DataFrame({name: series(table.column(name)) for name in names})

    def to_tensors(
        self, columns: "dict[str, np.ndarray[Any, Any] | list[Any]]", schema: pa.Schema, layout: Layout
    ) -> tuple[Any, Any]:
        """A dict by column: a tensor (n,) of numbers, or what text and times came as; and the labels (n,).

        Numbers and booleans of a column with an empty cell in the version are floats, NaN where the cell is empty.
        """
        inputs = self.to_arrays(columns, schema, layout)
        return {name: tensor(cells) for name, cells in inputs.items()}, label_tensor(columns, schema, layout)

    def to_arrays(
        self, columns: "dict[str, np.ndarray[Any, Any] | list[Any]]", schema: pa.Schema, layout: Layout
    ) -> "dict[str, np.ndarray[Any, Any] | list[Any]]":
        """The columns of `to_tensors`."""
        return {name: columns[name] for name in layout.inputs(schema)}


def is_flat(kind: pa.DataType) -> bool:
    """Numbers, booleans, times, and text."""
    return bool(pa.types.is_primitive(kind) or pa.types.is_decimal(kind)) or kind == pa.large_string()
