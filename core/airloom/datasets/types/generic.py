"""Any Arrow schema: blobs, sequences, embeddings, nested records."""

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from airloom.datasets.storage.schema import Layout
from airloom.datasets.types.base import check_roles
from airloom.datasets.types.labels import label_tensor
from airloom.datasets.types.measures import generic, of_label
from airloom.datasets.types.tensors import tensor
from airloom.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


class GenericType:
    """Columns of any type; any of them may be empty."""

    name = "generic"
    nullable = True

    def check(self, schema: pa.Schema, layout: Layout) -> None:
        """See `DatasetType`; only the roles are checked."""
        check_roles(schema, layout)

    def profile(self, table: pa.Table, layout: Layout) -> "pd.DataFrame":
        """What `measures.generic` says of each input column, and the label as it is.

        Raises:
            DataError: two columns would have a measure of one name.
        """
        import pandas as pd

        self.check(table.schema, layout)
        measured = [generic(name, table.column(name)) for name in layout.inputs(table.schema)]
        if layout.label:
            measured.append(of_label(layout.label, table.column(layout.label)))
        names = [name for measures in measured for name in measures]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise DataError(f"two columns would have the measure {twice!a}", "rename the column of that name")
        return pd.DataFrame({name: values for measures in measured for name, values in measures.items()})

    def to_tensors(
        self, columns: "dict[str, np.ndarray[Any, Any] | list[Any]]", schema: pa.Schema, layout: Layout
    ) -> tuple[Any, Any]:
        """A dict by column: a tensor of numbers (n, *shape), or what the rest came as; and the labels (n,)."""
        inputs = self.to_arrays(columns, schema, layout)
        return {name: tensor(cells) for name, cells in inputs.items()}, label_tensor(columns, schema, layout)

    def to_arrays(
        self,
        columns: "dict[str, np.ndarray[Any, Any] | list[Any]]",
        schema: pa.Schema,  # noqa: ARG002 - as the other types have it
        layout: Layout,
    ) -> "dict[str, np.ndarray[Any, Any] | list[Any]]":
        """The columns of `to_tensors`."""
        roles = (layout.label, layout.key, layout.split)
        return {name: cells for name, cells in columns.items() if name not in roles}
