"""A class for each pixel of each row."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from airloom.classes import name_of
from airloom.errors import ConfigError, GateError
from airloom.processing import Processing
from airloom.tasks import whole
from airloom.tasks.base import Asked, Outputs, Task, first, log_softmax, refuse_scores
from airloom.tasks.rows import Answered, Answers, Array, ModelAnswers

if TYPE_CHECKING:
    import pyarrow as pa
    from matplotlib.axes import Axes


class Segmentation(Task):
    """Labels are masks of whole numbers, (height, width); the model answers with scores (n, classes, height, width).

    Of each row the counts of pixels are kept, not the mask: of each class the right, the predicted and the labelled.

    Attributes:
        ignore: the value of pixels that count for nothing; None: all count.
    """

    name: ClassVar[str] = "segmentation"
    unlabelled: ClassVar[bool] = False
    ignore: ClassVar[int | None] = 255

    def check(self, label: "pa.Field | None") -> None:
        """See `Task`."""
        import pyarrow as pa

        super().check(label)
        kind = None if label is None else label.type
        while kind is not None and (pa.types.is_fixed_size_list(kind) or pa.types.is_large_list(kind)):
            kind = kind.value_type
        if label is not None and pa.types.is_large_binary(label.type):
            return  # files of masks, beside picture files
        if label is not None and (kind == label.type or not pa.types.is_integer(kind)):
            message = f"task segmentation needs masks of whole numbers as labels; {label.name!a} is {label.type}"
            raise ConfigError(message, "give an array (rows, height, width) of the number of each pixel's class")

    def labels(self, stored: Any, rows: int) -> Any:
        """Masks, int64 (n, height, width); as they are stored where each has the size of its picture."""
        super().labels(stored, rows)
        if isinstance(stored, list):
            return stored
        cells = stored if isinstance(stored, np.ndarray) and stored.dtype.kind in "iu" else None
        if cells is not None and cells.ndim >= 3:
            return cells.reshape(rows, *cells.shape[-2:]).astype(np.int64)
        message = "the masks of the test split are not whole numbers of one height and width"
        raise GateError(message, "give each row a mask of the same size")

    def judge(self, outputs: Outputs, labels: Any, asked: Asked) -> ModelAnswers:
        """Counts of pixels by class, and the mean log loss of a pixel."""
        scores = first(outputs)
        if not isinstance(labels, np.ndarray):
            message = "the masks of the test split have no common height and width"
            raise GateError(message, 'have them brought to one with their pictures: Picture(…, label="mask")')
        if scores.ndim != 4 or scores.shape[2:] != labels.shape[1:]:
            wanted = ", ".join(map(str, ("n", "classes", *labels.shape[1:])))
            mask = f"the mask of row {asked.first} has {' x '.join(map(str, labels.shape[1:]))} pixels"
            message = f"{asked.model} answers with shape {scores.shape[1:]}, and {mask}"
            raise GateError(message, f"have it answer with a score for each pixel: ({wanted})")
        names = asked.processing.class_names(scores.shape[1])
        places = _channels(labels, names, self.ignore, asked)
        counts = places >= 0
        predicted = scores.argmax(axis=1)
        logs = np.take_along_axis(log_softmax(scores, 1), np.maximum(places, 0)[:, None], 1)[:, 0]
        pixels = np.maximum(counts.sum(axis=(1, 2)), 1)
        losses = -np.where(counts, logs, 0).sum(axis=(1, 2)) / pixels
        hits = np.where(counts & (predicted == places), places, -1)
        kept = [_per_class(values, len(names)) for values in (hits, np.where(counts, predicted, -1), places)]
        return ModelAnswers(np.stack(kept[:2], 1).astype(np.float64), losses, names, tuple(names), label=kept[2])

    def paired(self, labels: Any, models: Sequence[ModelAnswers]) -> tuple[Array, list[Answers], tuple[str, ...]]:  # noqa: ARG002
        """By name: the channels of two models may have another order."""
        classes = list(dict.fromkeys(name for model in models for name in model.outputs))

        def spread(values: Array, names: Sequence[str]) -> Array:
            wide = np.zeros((*values.shape[:-1], len(classes)))
            wide[..., [classes.index(name) for name in names]] = values
            return wide

        answers = [Answers(spread(m.predicted, m.outputs), m.loss, m.known, m.kept) for m in models]
        assert models[0].label is not None  # noqa: S101 - `judge` gave it
        return spread(models[0].label, models[0].outputs), answers, tuple(classes)

    def incomparable(self, one: ModelAnswers, other: ModelAnswers) -> str:
        """See `Task`: the pixels of two sizes of a picture are no pairs."""
        here, there = (0 if answers.label is None else int(answers.label.sum()) for answers in (one, other))
        return "" if here == there else f"it was asked with {there} labelled pixels, and the candidate {here}"

    def bad_rows(self, outputs: Outputs) -> Array:
        """See `Task`; minus infinity is a probability of 0."""
        return refuse_scores(first(outputs))

    @property
    def means(self) -> tuple[str, ...]:
        """See `Task`."""
        return ("pixel_accuracy", "log_loss")

    @property
    def wholes(self) -> tuple[str, ...]:
        """See `Task`."""
        return ("mean_iou", "mean_dice")

    def merit(self, rows: Answered, metric: str) -> Array | None:
        """The share of right pixels, or minus the loss."""
        if metric == "log_loss":
            return -rows.answers.loss
        pixels = np.maximum(rows.label.sum(axis=1), 1)
        return rows.answers.predicted[:, 0].sum(axis=1) / pixels if metric == "pixel_accuracy" else None

    def metrics(self, rows: Answered) -> dict[str, float]:
        """The means, and the intersection over union of each class."""
        named = super().metrics(rows)
        if not named or len(rows.classes) > 50:
            return named
        hits, predicted, labelled = np.split(_counts(rows).sum(axis=0), 3)
        union = predicted + labelled - hits
        return named | {f"iou_{name}": float(hits[at] / union[at]) for at, name in enumerate(rows.classes) if union[at]}

    def whole(self, metric: str) -> whole.Whole | None:
        """See `Task`. Of all pixels of all rows, its mean over the classes."""
        functions = {"mean_iou": whole.iou_of, "mean_dice": whole.f1_of}
        return whole.OfSums(_counts, functions[metric]) if metric in functions else None

    def answer(self, outputs: Outputs, processing: Processing, inputs: dict[str, Array]) -> list[Any]:  # noqa: ARG002
        """The mask of each row: the class of each pixel, as the dataset's masks have it."""
        numbers = first(outputs).argmax(axis=1)
        if processing.classes or processing.labels:
            names = processing.names(range(first(outputs).shape[1]))
            return [[[names[place] for place in line] for line in mask] for mask in numbers.tolist()]
        return list(numbers.tolist())

    def draw(self, rows: Answered) -> dict[str, Any]:
        """Intersection over union by class."""
        return {"iou.png": lambda axes: _iou(axes, rows)}


def _channels(masks: Array, names: Sequence[str], ignore: int | None, asked: Asked) -> Array:
    """The model's channel of each pixel; -1 where it counts for nothing.

    Raises:
        GateError: a mask has a class for which the model has no channel.
    """
    channels = {name: place for place, name in enumerate(names)}
    values, places = np.unique(masks, return_inverse=True)
    numbers = [-1 if value == ignore else channels.get(name_of(value), -2) for value in values.tolist()]
    if -2 in numbers:
        value = values[numbers.index(-2)]
        row = asked.first + int(np.argwhere(masks == value)[0][0])
        message = (
            f"the mask of row {row} has the class {value}, and {asked.model} has {len(names)}: {', '.join(names[:10])}"
        )
        raise GateError(message, "train with as many channels as there are classes; 255 is ignored")
    return np.array(numbers, np.int64)[places].reshape(masks.shape)


def _per_class(places: Array, classes: int) -> Array:
    """How many pixels of each row have each class, (n, classes); -1 is none."""
    rows = np.arange(len(places))[:, None, None] * (classes + 1)
    counts = np.bincount((rows + places + 1).reshape(-1), minlength=len(places) * (classes + 1))
    return counts.reshape(len(places), classes + 1)[:, 1:]


def _counts(rows: Answered) -> Array:
    return np.hstack([rows.answers.predicted[:, 0], rows.answers.predicted[:, 1], rows.label])


def _iou(axes: "Axes", rows: Answered) -> None:
    hits, predicted, labelled = np.split(_counts(rows).sum(axis=0), 3)
    union = np.maximum(predicted + labelled - hits, 1)
    worst = np.argsort(hits / union, kind="stable")[:30]
    axes.barh(range(len(worst)), (hits / union)[worst])
    axes.set_yticks(range(len(worst)), [rows.classes[place][:24] for place in worst.tolist()], parse_math=False)
    axes.set(xlabel="intersection over union", xlim=(0, 1))
