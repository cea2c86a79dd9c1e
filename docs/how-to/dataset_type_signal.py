"""A dataset type of its own: windows of sensor signals, each with a class. `tests/` loads it by its entry point."""

from airloom.datasets.types.base import check_class_label, check_roles, one_input, shape_of
from airloom.datasets.types.labels import label_tensor
from airloom.datasets.types.tensors import tensor
from airloom.errors import DataError


class SignalType:
    name = "signal"
    nullable = False

    def check(self, schema, layout):
        check_roles(schema, layout)
        check_class_label(schema, layout)
        field = one_input(schema, layout)
        if len(shape_of(field)) != 2:
            raise DataError(
                f"column {field.name!a} is {field.type}", "give arrays of shape (windows, channels, samples)"
            )

    def profile(self, table, layout):
        import numpy as np
        import pandas as pd

        column = table.column(one_input(table.schema, layout).name).combine_chunks()
        values = column.flatten().to_numpy().reshape(len(column), -1)
        measured = {"rms": np.sqrt((values**2).mean(axis=1)), "peak": np.abs(values).max(axis=1)}
        return pd.DataFrame(measured | {layout.label: table.column(layout.label).to_pandas()})

    def to_tensors(self, columns, schema, layout):
        field = one_input(schema, layout)
        signals = tensor(columns[field.name])
        return signals.reshape(len(signals), *shape_of(field)), label_tensor(columns, schema, layout)


signal = SignalType()
