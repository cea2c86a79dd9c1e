"""What an evaluation shows: PNG files for the MLflow run, the same in memory for the gate's page."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from airloom.evaluation.metrics import confusion
from airloom.evaluation.predictions import Answers, PredictedRows

if TYPE_CHECKING:
    from matplotlib.axes import Axes


Array = np.ndarray[Any, Any]
MOST_CLASSES = 30  # in a confusion matrix that people can read
MOST_CURVES = 10


def draw(rows: PredictedRows, scores: Array | None, folder: Path) -> None:
    """Write the pictures that go with the kind of problem."""
    if rows.kind == "regression":
        _save(folder / "predicted.png", lambda axes: _predicted(axes, rows))
        _save(folder / "residuals.png", lambda axes: _residuals(axes, rows))
        return
    (folder / "confusion.png").write_bytes(confusion_matrix(rows, rows.candidate))
    if scores is not None:
        _save(folder / "calibration.png", lambda axes: _calibration(axes, rows, scores))
        _save(folder / "roc.png", lambda axes: _curves(axes, rows, scores, "roc"))
        _save(folder / "precision_recall.png", lambda axes: _curves(axes, rows, scores, "precision_recall"))


def confusion_matrix(rows: PredictedRows, who: Answers) -> bytes:
    """Rows are labels, columns predictions; classes beyond the thirtieth are left out."""
    classes = int(max(rows.label.max(), who.predicted.max())) + 1
    counts = confusion(who.predicted, rows.label, classes)[:MOST_CLASSES, :MOST_CLASSES]

    def paint(axes: "Axes") -> None:
        axes.imshow(counts, cmap="Blues")
        for row, column in np.argwhere(counts):
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=7)
        axes.set(xlabel="predicted", ylabel="label", xticks=range(len(counts)), yticks=range(len(counts)))

    return picture(paint)


def picture(paint: Any, size: tuple[float, float] = (5, 4.5)) -> bytes:
    """A PNG of what `paint` draws on the axes that it is given."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="tight")
    paint(figure.subplots())
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _save(path: Path, paint: Any) -> None:
    path.write_bytes(picture(paint))


def _probabilities(scores: Array) -> Array:
    shifted = np.exp(scores - scores.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)  # type: ignore[no-any-return]


def _calibration(axes: "Axes", rows: PredictedRows, scores: Array) -> None:
    """Of the answers given with a confidence, how many are right."""
    from sklearn.calibration import calibration_curve

    confidence = _probabilities(scores).max(axis=1).clip(0, 1)
    shares, confidences = calibration_curve(rows.candidate.predicted == rows.label, confidence, n_bins=10)
    axes.plot([0, 1], [0, 1], color="gray", lw=0.8)
    axes.plot(confidences, shares, marker="o")
    axes.set(xlabel="confidence", ylabel="share of right answers", xlim=(0, 1), ylim=(0, 1.02))


def _curves(axes: "Axes", rows: PredictedRows, scores: Array, kind: str) -> None:
    """One class against the rest; for two classes only the second one's curve."""
    from sklearn.metrics import precision_recall_curve, roc_curve

    chances = _probabilities(scores)
    for number in [1] if chances.shape[1] == 2 else range(min(chances.shape[1], MOST_CURVES)):
        truth = rows.label == number
        if truth.all() or not truth.any():
            continue  # without both kinds of rows there is no curve
        if kind == "roc":
            across, up, _ = roc_curve(truth, chances[:, number])
        else:
            up, across, _ = precision_recall_curve(truth, chances[:, number])
        axes.plot(across, up, label=str(number), lw=1)
    names = ("false positive rate", "true positive rate") if kind == "roc" else ("recall", "precision")
    axes.set(xlabel=names[0], ylabel=names[1], xlim=(-0.01, 1.01), ylim=(-0.01, 1.02))
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=7, title="class")


def _predicted(axes: "Axes", rows: PredictedRows) -> None:
    axes.scatter(rows.label, rows.candidate.predicted, s=6, alpha=0.5)
    ends = [
        min(rows.label.min(), rows.candidate.predicted.min()),
        max(rows.label.max(), rows.candidate.predicted.max()),
    ]
    axes.plot(ends, ends, color="gray", lw=0.8)
    axes.set(xlabel="label", ylabel="predicted")


def _residuals(axes: "Axes", rows: PredictedRows) -> None:
    axes.hist(rows.candidate.predicted - rows.label, bins=40)
    axes.set(xlabel="predicted minus label", ylabel="rows")
