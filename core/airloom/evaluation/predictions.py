"""What the test rows say of candidate and champion: kept as Parquet, read again by the gate and by its simulation.

Classes stand there by name: two models that number them differently, or that know different ones, are compared by what
they say.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from airloom.classes import in_order
from airloom.errors import GateError
from airloom.evaluation import metrics
from airloom.files import file_sha256

Array = np.ndarray[Any, Any]
Labels = list[str] | Array  # names of classes, or float64 (n,)
Kind = Literal["classification", "regression"]
SLICE = "slice."


@dataclass(frozen=True)
class Answers:
    """Of one model, for each test row.

    Attributes:
        predicted: int64 places in the names of the rows' classes, or float64 values; shape (n,).
        loss: float64 (n,): log loss, or squared error.
        known: the classes that the model knows; empty where that is not on record.
    """

    predicted: Array
    loss: Array
    known: tuple[str, ...] = ()

    def take(self, places: Array) -> "Answers":
        """To these rows, in this order."""
        return replace(self, predicted=self.predicted[places], loss=self.loss[places])


@dataclass(frozen=True)
class PredictedRows:
    """The test split's rows in its order.

    Attributes:
        kind: of the problem.
        label: as `Answers.predicted`.
        candidate: its answers.
        champion: the champion's; None where there is none.
        slices: which rows belong to a part, bool (n,) by name.
        classes: names of all classes that a label or an answer says; () where they are called as their numbers.
    """

    kind: Kind
    label: Array
    candidate: Answers
    champion: Answers | None
    slices: dict[str, Array] = field(default_factory=dict)
    classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.label)

    def take(self, places: Array) -> "PredictedRows":
        """These rows, in this order; some of them may come more than once."""
        return replace(
            self,
            label=self.label[places],
            candidate=self.candidate.take(places),
            champion=self.champion.take(places) if self.champion else None,
            slices={name: mask[places] for name, mask in self.slices.items()},
        )

    def name(self, place: int) -> str:
        """Of a class."""
        return self.classes[place] if self.classes else str(place)

    def measured(self, who: Answers, mask: Array | None = None) -> dict[str, float]:
        """Metrics of one model on all rows, or on those of a mask."""
        chosen = slice(None) if mask is None else mask
        if self.kind == "regression":
            return metrics.of_regression(self.label[chosen], who.predicted[chosen])
        rows = self.label[chosen], who.predicted[chosen], who.loss[chosen]
        return metrics.of_classification(*rows, self.classes)

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

    def unknown(self) -> dict[str, dict[str, int]]:
        """The classes that candidate or champion do not know, with their rows: of the labels, and of the other model.

        A model whose classes are not on record is left out.
        """
        counts: list[int] = np.bincount(self.label).tolist() if self.kind == "classification" else []
        rows = {self.name(place): count for place, count in enumerate(counts) if count}
        models = {"candidate": self.candidate.known, "champion": self.champion.known if self.champion else ()}
        expected = in_order([*rows, *(name for known in models.values() for name in known)])
        lacking = {
            who: {name: rows.get(name, 0) for name in expected if name not in set(known)}
            for who, known in models.items()
            if known
        }
        return {who: classes for who, classes in lacking.items() if classes}


@dataclass(frozen=True)
class ModelAnswers:
    """Of one model, before its classes are compared with those of others.

    Attributes:
        predicted: numbers of its outputs, int64 (n,), or float64 values.
        loss: as `Answers.loss`.
        outputs: the name of each output's class; [] where it predicts numbers.
        known: as `Answers.known`.
    """

    predicted: Array
    loss: Array
    outputs: list[str] = field(default_factory=list)
    known: tuple[str, ...] = ()


def by_name(
    labels: Labels, candidate: ModelAnswers, champion: ModelAnswers | None, slices: dict[str, Array] | None = None
) -> PredictedRows:
    """The rows with labels and answers as places in the names of all classes.

    Args:
        labels: of the rows.
        candidate: its answers.
        champion: the champion's; None where there is none.
        slices: which rows belong to a part, bool (n,) by name.
    """
    models = [candidate, champion] if champion else [candidate]
    if not isinstance(labels, list):
        plain = [Answers(model.predicted, model.loss) for model in models]
        return PredictedRows("regression", labels, plain[0], plain[1] if champion else None, slices or {})
    classes = in_order([*labels, *(name for model in models for name in model.outputs)])
    answers = [Answers(_places(model.outputs, classes)[model.predicted], model.loss, model.known) for model in models]
    other = answers[1] if champion else None
    return PredictedRows("classification", _places(labels, classes), answers[0], other, slices or {}, tuple(classes))


def _places(names: Sequence[str], classes: Sequence[str]) -> Array:
    numbers = {name: place for place, name in enumerate(classes)}
    return np.array([numbers[name] for name in names], np.int64)


def write(rows: PredictedRows, path: Path) -> str:
    """Keep the rows, classes as text; returns the file's sha256."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    top = max((int(part.max()) for part in (rows.label, rows.candidate.predicted) if len(part)), default=0)
    names = pa.array(rows.classes or [str(number) for number in range(top + 1)], pa.large_string())
    classes = rows.kind == "classification"

    def column(values: Array) -> Any:
        return names.take(pa.array(values)) if classes else pa.array(values)

    champion, nothing = rows.champion, pa.nulls(len(rows), names.type if classes else pa.float64())
    columns = {
        "row": np.arange(len(rows)),
        "label": column(rows.label),
        "candidate": column(rows.candidate.predicted),
        "champion": column(champion.predicted) if champion else nothing,
        "candidate_loss": rows.candidate.loss,
        "champion_loss": champion.loss if champion else pa.nulls(len(rows), pa.float64()),
        **{f"{SLICE}{name}": mask for name, mask in rows.slices.items()},
    }
    known = {"candidate": rows.candidate.known, "champion": champion.known if champion else ()}
    facts = {"airloom.kind": rows.kind, "airloom.known": json.dumps(known)}
    pq.write_table(pa.table(columns).replace_schema_metadata(facts), path)
    return file_sha256(path)


def read(path: Path, *, with_champion: bool) -> PredictedRows:
    """Read kept rows and check that they are whole. Earlier releases kept the numbers of classes, not their names.

    Raises:
        GateError: they are not: a hole, another order, a column of another type.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pq.read_table(path, memory_map=False)
    facts = table.schema.metadata or {}
    kind: Any = facts.get(b"airloom.kind", b"classification").decode()
    known = {who: tuple(names) for who, names in json.loads(facts.get(b"airloom.known", b"{}")).items()}

    def whole(name: str) -> Any:
        cells = table.column(name)
        if cells.null_count:
            raise GateError(f"nulls in {name}")
        return cells.combine_chunks()

    def column(name: str, kind_of: type) -> Array:
        values = whole(name).to_numpy(zero_copy_only=False)
        if values.dtype != kind_of:
            raise GateError(f"{name} is {values.dtype}, not {np.dtype(kind_of)}")
        return values  # type: ignore[no-any-return]

    def said(name: str) -> Any:
        cells = whole(name)
        if cells.type not in (pa.large_string(), pa.string(), pa.int64()):
            raise GateError(f"{name} is {cells.type}, not the names of classes")
        return cells.cast(pa.large_string())

    if column("row", np.int64).tolist() != list(range(table.num_rows)):
        raise GateError("its rows are not 0, 1, 2, …")
    parts = {n.removeprefix(SLICE): column(n, np.bool_) for n in table.column_names if n.startswith(SLICE)}
    models = ["candidate", "champion"] if with_champion else ["candidate"]
    losses = [column(f"{who}_loss", np.float64) for who in models]
    if kind == "regression":
        answers = [Answers(column(who, np.float64), loss) for who, loss in zip(models, losses, strict=True)]
        label, classes = column("label", np.float64), list[str]()
    else:
        texts = {name: said(name) for name in ("label", *models)}
        classes = in_order(name for cells in texts.values() for name in cells.unique().to_pylist())
        places = {
            name: pc.index_in(cells, pa.array(classes, cells.type)).to_numpy().astype(np.int64)
            for name, cells in texts.items()
        }
        answers = [Answers(places[who], loss, known.get(who, ())) for who, loss in zip(models, losses, strict=True)]
        label = places["label"]
    other = answers[1] if with_champion else None
    return PredictedRows(kind, label, answers[0], other, parts, tuple(classes))
