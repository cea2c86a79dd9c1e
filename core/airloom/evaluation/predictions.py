"""What the test rows say of candidate and champion: kept as Parquet, read again by the gate and by its simulation."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from airloom.errors import GateError
from airloom.evaluation import metrics
from airloom.files import file_sha256

Array = np.ndarray[Any, Any]
Kind = Literal["classification", "regression"]
SLICE = "slice."


@dataclass(frozen=True)
class Answers:
    """Of one model, for each test row."""

    predicted: Array  # int64 classes, or float64 values; shape (n,)
    loss: Array  # float64 (n,): log loss, or squared error


@dataclass(frozen=True)
class PredictedRows:
    """The test split's rows in its order."""

    kind: Kind
    label: Array  # int64 or float64, (n,)
    candidate: Answers
    champion: Answers | None
    slices: dict[str, Array] = field(default_factory=dict)  # bool (n,) by name

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.label)

    def take(self, places: Array) -> "PredictedRows":
        """These rows, in this order; some of them may come more than once."""

        def of(answers: Answers) -> Answers:
            return Answers(answers.predicted[places], answers.loss[places])

        champion = of(self.champion) if self.champion else None
        parts = {name: mask[places] for name, mask in self.slices.items()}
        return PredictedRows(self.kind, self.label[places], of(self.candidate), champion, parts)

    def measured(self, who: Answers, mask: Array | None = None) -> dict[str, float]:
        """Metrics of one model on all rows, or on those of a mask."""
        chosen = slice(None) if mask is None else mask
        if self.kind == "regression":
            return metrics.of_regression(self.label[chosen], who.predicted[chosen])
        return metrics.of_classification(self.label[chosen], who.predicted[chosen], who.loss[chosen])

    def merit(self, who: Answers, metric: str) -> Array:
        """What a metric says of each row, turned so that more is better: bool for accuracy, else minus the loss.

        Raises:
            GateError: the metric does not go with these rows.
        """
        if self.kind == "classification" and metric in ("accuracy", "log_loss"):
            right: Array = who.predicted == self.label
            return right if metric == "accuracy" else -who.loss
        if self.kind == "regression" and metric in ("mae", "mse"):
            error: Array = np.abs(who.predicted - self.label)
            return -error if metric == "mae" else -error * error
        hint = "accuracy and log_loss go with classes, mae and mse with numbers"
        raise GateError(f"{metric} cannot be compared for {self.kind}", hint)


def write(rows: PredictedRows, path: Path) -> str:
    """Keep the rows; returns the file's sha256."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    nothing = pa.nulls(len(rows), pa.from_numpy_dtype(rows.candidate.predicted.dtype))
    columns = {
        "row": np.arange(len(rows)),
        "label": rows.label,
        "candidate": rows.candidate.predicted,
        "champion": rows.champion.predicted if rows.champion else nothing,
        "candidate_loss": rows.candidate.loss,
        "champion_loss": rows.champion.loss if rows.champion else pa.nulls(len(rows), pa.float64()),
        **{f"{SLICE}{name}": mask for name, mask in rows.slices.items()},
    }
    pq.write_table(pa.table(columns).replace_schema_metadata({"airloom.kind": rows.kind}), path)
    return file_sha256(path)


def read(path: Path, *, with_champion: bool) -> PredictedRows:
    """Read kept rows and check that they are whole.

    Raises:
        GateError: they are not: a hole, another order, a column of another type.
    """
    import pyarrow.parquet as pq

    table = pq.read_table(path, memory_map=False)
    kind: Any = (table.schema.metadata or {}).get(b"airloom.kind", b"classification").decode()
    whole = np.int64 if kind == "classification" else np.float64

    def column(name: str, kind_of: type) -> Array:
        cells = table.column(name)
        if cells.null_count:
            raise GateError(f"nulls in {name}")
        values = cells.to_numpy()
        if values.dtype != kind_of:
            raise GateError(f"{name} is {values.dtype}, not {np.dtype(kind_of)}")
        return values  # type: ignore[no-any-return]

    if column("row", np.int64).tolist() != list(range(table.num_rows)):
        raise GateError("its rows are not 0, 1, 2, …")
    parts = {n.removeprefix(SLICE): column(n, np.bool_) for n in table.column_names if n.startswith(SLICE)}
    candidate = Answers(column("candidate", whole), column("candidate_loss", np.float64))
    champion = Answers(column("champion", whole), column("champion_loss", np.float64)) if with_champion else None
    return PredictedRows(kind, column("label", whole), candidate, champion, parts)
