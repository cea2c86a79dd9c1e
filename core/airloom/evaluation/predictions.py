"""What the test rows say of candidate and champion: kept as Parquet, read again by the gate and by its simulation.

Classes stand there by name: two models that number them differently, or that know different ones, are compared by what
they say.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from airloom.classes import in_order
from airloom.errors import GateError
from airloom.evaluation.own import VALUES, OwnMetric
from airloom.files import file_sha256
from airloom.tasks import Classification, Regression, Task, of_name
from airloom.tasks.rows import Answered, Answers, ModelAnswers
from airloom.tasks.whole import Whole

__all__ = ["Answers", "ModelAnswers", "PredictedRows", "by_name", "read", "write"]
Array = np.ndarray[Any, Any]
Labels = Any  # as the task has them: names of classes, float64 (n,), …
SLICE, GROUP = "slice.", "group"
OF = ("candidate", "champion")


@dataclass(frozen=True)
class PredictedRows:
    """The test split's rows in its order.

    Attributes:
        kind: the task's name.
        label: as `Answers.predicted`; what the task keeps of the labels.
        candidate: its answers.
        champion: the champion's; None where there is none.
        slices: which rows belong to a part, bool (n,) by name.
        classes: names of all classes that a label or an answer says; () where they are called as their numbers.
        given: the task; None: the one of `kind`.
        also: metrics that are measured besides those that the task always has.
        groups: numbers of what rows belong to together, int64 (n,); None: each is alone.
        own: metrics of one's own.
    """

    kind: str
    label: Array
    candidate: Answers
    champion: Answers | None
    slices: dict[str, Array] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    given: Task | None = None
    also: tuple[str, ...] = ()
    groups: Array | None = None
    own: Mapping[str, OwnMetric] = field(default_factory=dict)

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.label)

    @property
    def task(self) -> Task:
        """What the answers are for."""
        return self.given or of_name(self.kind)

    def of(self, who: Answers, places: Any = None) -> Answered:
        """The rows with the answers of one model; all of them, or those at some places or of a mask."""
        if places is None:
            return Answered(self.label, who, self.classes)
        return Answered(self.label[places], who.take(places), self.classes)

    def take(self, places: Array) -> "PredictedRows":
        """These rows, in this order; some of them may come more than once."""
        return replace(
            self,
            label=self.label[places],
            candidate=self.candidate.take(places),
            champion=self.champion.take(places) if self.champion else None,
            slices={name: mask[places] for name, mask in self.slices.items()},
            groups=None if self.groups is None else self.groups[places],
        )

    def name(self, place: int) -> str:
        """Of a class."""
        return self.classes[place] if self.classes else str(place)

    def measured(self, who: Answers, mask: Array | None = None) -> dict[str, float]:
        """Metrics of one model on all rows, or on those of a mask."""
        rows = self.of(who, mask)
        if not len(rows):
            return {}
        measured = self.task.metrics(rows)
        for name in self.own:
            if f"{VALUES}{name}" in rows.answers.kept:
                measured[name] = float(rows.answers.kept[f"{VALUES}{name}"].mean())
        for name in self.also:
            measure = self.whole(name)
            if name not in measured and measure and np.isfinite(value := measure.value(rows)):
                measured[name] = value
        return measured

    def whole(self, metric: str) -> Whole | None:
        """A metric of all rows; None where it is a mean over rows, or none of these rows."""
        if metric in self.own:
            return None if f"{VALUES}{metric}" in self.candidate.kept else self.own[metric]
        return self.task.whole(metric)

    def merit(self, who: Answers, metric: str) -> Array:
        """What a metric says of each row, turned so that more is better: bool for accuracy, else a number.

        Raises:
            GateError: the metric does not go with these rows, or it is no mean over rows.
        """
        return self.merit_of(self.of(who), metric)

    def merit_of(self, rows: Answered, metric: str) -> Array:
        """The same of some rows with the answers of one model."""
        merit = rows.answers.kept.get(f"{VALUES}{metric}")
        merit = self.task.merit(rows, metric) if merit is None else merit
        if merit is not None:
            return merit
        hint = "accuracy and log_loss go with classes, mae and mse with numbers"
        if self.given is not None:
            names = [
                *(self.task.means or (name for name in rows.answers.kept if "." not in name)),
                *self.task.wholes,
                *self.own,
            ]
            hint = f"there are {', '.join(names)}"
        raise GateError(f"{metric} cannot be compared for {self.kind}", hint)

    def unknown(self) -> dict[str, dict[str, int]]:
        """The classes that candidate or champion do not know, with their rows: of the labels, and of the other model.

        A model whose classes are not on record is left out.
        """
        labelled = np.bincount(self.label) if self.kind == "classification" else (self.label > 0).sum(axis=0)
        counts: list[int] = labelled.tolist() if self.classes or self.kind == "classification" else []
        rows = {self.name(place): count for place, count in enumerate(counts) if count}
        models = {"candidate": self.candidate.known, "champion": self.champion.known if self.champion else ()}
        expected = in_order([*rows, *(name for known in models.values() for name in known)])
        lacking = {
            who: {name: rows.get(name, 0) for name in expected if name not in set(known)}
            for who, known in models.items()
            if known
        }
        return {who: classes for who, classes in lacking.items() if classes}


def by_name(
    labels: Labels,
    candidate: ModelAnswers,
    champion: ModelAnswers | None,
    slices: dict[str, Array] | None = None,
    task: Task | None = None,
    **more: Any,
) -> PredictedRows:
    """The rows with labels and answers as places in the names of all classes.

    Args:
        labels: of the rows.
        candidate: its answers.
        champion: the champion's; None where there is none.
        slices: which rows belong to a part, bool (n,) by name.
        task: what the answers are for; None: labels that are a list are classes, others numbers.
        more: `also`, `groups` and `own` of `PredictedRows`.
    """
    models = [candidate, champion] if champion else [candidate]
    of = task or (Classification() if isinstance(labels, list) else Regression())
    label, answers, classes = of.paired(labels, models)
    other = answers[1] if champion else None
    return PredictedRows(of.name, label, answers[0], other, slices or {}, classes, task, **more)


def write(rows: PredictedRows, path: Path) -> str:
    """Keep the rows, classes as text; returns the file's sha256."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    classify, count = rows.kind == "classification", len(rows)
    top = max((int(part.max()) for part in (rows.label, rows.candidate.predicted) if len(part)), default=0)
    names = pa.array(rows.classes or [str(number) for number in range(top + 1)], pa.large_string())

    def column(values: Array) -> Any:
        return names.take(pa.array(values)) if classify else _cells(values)

    columns: dict[str, Any] = {
        "row": np.arange(count),
        "label": column(rows.label),
        "candidate": column(rows.candidate.predicted),
        "champion": None,
        "candidate_loss": rows.candidate.loss,
        "champion_loss": None,
    }
    champion = rows.champion
    one = columns["candidate"].type if rows.candidate.predicted.ndim == 1 else pa.float64()
    columns["champion"] = column(champion.predicted) if champion else pa.nulls(count, one)
    columns["champion_loss"] = champion.loss if champion else pa.nulls(count, pa.float64())
    columns |= {f"{SLICE}{name}": mask for name, mask in rows.slices.items()}
    models = dict(zip(OF, [rows.candidate, *([champion] if champion else [])], strict=False))
    for who, answers in models.items():
        columns |= {f"{who}.{name}": _cells(values) for name, values in answers.kept.items()}
    if rows.groups is not None:
        columns[GROUP] = rows.groups
    known = {"candidate": rows.candidate.known, "champion": champion.known if champion else ()}
    facts = {"airloom.kind": rows.kind, "airloom.known": json.dumps(known)}
    shapes = {"label": rows.label.shape[1:]} | {who: answers.predicted.shape[1:] for who, answers in models.items()}
    shapes |= {f"{who}.{name}": v.shape[1:] for who, answers in models.items() for name, v in answers.kept.items()}
    if rows.given is not None or rows.also or any(len(shape) for shape in shapes.values()):
        facts["airloom.shapes"] = json.dumps({name: list(shape) for name, shape in shapes.items()})
        facts["airloom.also"] = json.dumps([*rows.also])
        facts["airloom.classes"] = json.dumps([*rows.classes])
    pq.write_table(pa.table(columns).replace_schema_metadata(facts), path)
    return file_sha256(path)


def _cells(values: Array) -> Any:
    """(n, …) as an Arrow array: several values of a row as a list of fixed length."""
    import pyarrow as pa

    if values.ndim == 1:
        return pa.array(values)
    size = int(np.prod(values.shape[1:]))
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(values).reshape(-1)), size)


def read(
    path: Path, *, with_champion: bool, task: Task | None = None, own: Mapping[str, OwnMetric] | None = None
) -> PredictedRows:
    """Read kept rows and check that they are whole. Earlier releases kept the numbers of classes, not their names.

    Args:
        path: of the file.
        with_champion: whether the champion's answers must be there.
        task: what the answers are for, where the pipeline file says it.
        own: metrics of one's own.

    Raises:
        GateError: they are not: a hole, another order, a column of another type.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(path, memory_map=False)
    facts = {name.decode(): value.decode() for name, value in (table.schema.metadata or {}).items()}
    kind = facts.get("airloom.kind", "classification")
    if task is not None and task.name != kind:
        raise GateError(f"its rows are of the task {kind}, not {task.name}", "clear `evaluate`")
    known = {who: tuple(names) for who, names in json.loads(facts.get("airloom.known", "{}")).items()}
    shapes = json.loads(facts.get("airloom.shapes", "{}"))

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

    def several(name: str) -> Array:
        cells, shape = whole(name), shapes.get(name, [])
        if not shape:
            values = cells.to_numpy(zero_copy_only=False)
            return np.asarray(values, np.str_) if values.dtype == object else np.asarray(values)
        if not pa.types.is_fixed_size_list(cells.type) or cells.type.list_size != np.prod(shape):
            raise GateError(f"{name} is {cells.type}, not of shape {tuple(shape)}")
        return cells.flatten().to_numpy(zero_copy_only=False).reshape(len(cells), *shape)  # type: ignore[no-any-return]

    if column("row", np.int64).tolist() != list(range(table.num_rows)):
        raise GateError("its rows are not 0, 1, 2, …")
    parts = {n.removeprefix(SLICE): column(n, np.bool_) for n in table.column_names if n.startswith(SLICE)}
    models = OF if with_champion else OF[:1]
    losses = [column(f"{who}_loss", np.float64) for who in models]
    kept = [
        {name.removeprefix(f"{who}."): several(name) for name in table.column_names if name.startswith(f"{who}.")}
        for who in models
    ]
    if kind == "classification":
        label, places, classes = _named({name: said(name) for name in ("label", *models)}, facts)
        predicted = [places[who] for who in models]
    elif shapes:
        label, predicted, classes = several("label"), [several(who) for who in models], _classes(facts)
    else:
        label, predicted, classes = column("label", np.float64), [column(who, np.float64) for who in models], []
    answers = [
        Answers(values, loss, known.get(who, ()) if kind != "regression" else (), cells)
        for who, values, loss, cells in zip(models, predicted, losses, kept, strict=True)
    ]
    other, also = answers[1] if with_champion else None, tuple(json.loads(facts.get("airloom.also", "[]")))
    groups = column(GROUP, np.int64) if GROUP in table.column_names else None
    return PredictedRows(kind, label, answers[0], other, parts, tuple(classes), task, also, groups, own or {})


def _classes(facts: Mapping[str, str]) -> list[str]:
    return list(json.loads(facts.get("airloom.classes", "[]")))


def _named(texts: Mapping[str, Any], facts: Mapping[str, str]) -> tuple[Array, dict[str, Array], list[str]]:
    """Names of classes as places: the labels', each model's, and the names in their order."""
    import pyarrow as pa
    import pyarrow.compute as pc

    there = in_order(name for cells in texts.values() for name in cells.unique().to_pylist())
    classes = _classes(facts) or there
    if strange := set(there) - set(classes):
        raise GateError(f"the class {min(strange)!a} is none of those that it names")
    places = {
        name: pc.index_in(cells, pa.array(classes, cells.type)).to_numpy().astype(np.int64)
        for name, cells in texts.items()
    }
    return places["label"], places, classes
