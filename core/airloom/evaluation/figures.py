"""What an evaluation shows: PNG files for the MLflow run, the same in memory for the gate's page."""

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from airloom.evaluation.by_class import measure
from airloom.evaluation.predictions import Answers, PredictedRows
from airloom.tasks.metrics import confusion

if TYPE_CHECKING:
    from matplotlib.axes import Axes


Array = np.ndarray[Any, Any]
MOST_CLASSES = 30  # in a confusion matrix that people can read
MOST_CURVES = 10
LONGEST = 24  # characters of a class's name


def draw(rows: PredictedRows, scores: Array | None, outputs: list[str], folder: Path) -> None:
    """Write the pictures that go with the kind of problem.

    Args:
        rows: the predictions.
        scores: logits of the candidate, (n, outputs); None where it predicts numbers.
        outputs: the name of each output's class.
        folder: where to.
    """
    if rows.kind != "classification":
        for name, paint in rows.task.draw(rows.of(rows.candidate)).items():
            _save(folder / name, paint)
        return
    (folder / "confusion.png").write_bytes(confusion_matrix(rows, rows.candidate))
    if scores is not None:
        _save(folder / "calibration.png", lambda axes: _calibration(axes, rows, scores))
        _save(folder / "roc.png", lambda axes: _curves(axes, rows, scores, outputs, "roc"))
        _save(folder / "precision_recall.png", lambda axes: _curves(axes, rows, scores, outputs, "precision_recall"))


def confusion_matrix(rows: PredictedRows, who: Answers) -> bytes:
    """Rows are labels, columns predictions. Of more than thirty classes those with the most errors."""
    top = int(max(rows.label.max(), who.predicted.max())) + 1
    counts = confusion(who.predicted, rows.label, top)
    chosen = np.flatnonzero(counts.sum(axis=0) + counts.sum(axis=1))
    if len(chosen) > MOST_CLASSES:
        errors = (counts.sum(axis=0) + counts.sum(axis=1) - 2 * counts.diagonal())[chosen]
        chosen = np.sort(chosen[np.argsort(-errors, kind="stable")[:MOST_CLASSES]])
    counts, names = counts[np.ix_(chosen, chosen)], [_short(rows.name(place)) for place in chosen.tolist()]

    def paint(axes: "Axes") -> None:
        axes.imshow(counts, cmap="Blues")
        for row, column in np.argwhere(counts):
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=7)
        places, long = range(len(names)), max(map(len, names)) > 3
        axes.set_xticks(places, names, rotation=90 if long else 0, fontsize=7 if long else 9, parse_math=False)
        axes.set_yticks(places, names, fontsize=7 if long else 9, parse_math=False)
        axes.set(xlabel="predicted", ylabel="label")

    return picture(paint)


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def picture(paint: Any, size: tuple[float, float] = (5, 4.5)) -> bytes:
    """A PNG of what `paint` draws on the axes that it is given."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="tight")
    paint(figure.subplots())
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # a class may be called in any script
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


def _curves(axes: "Axes", rows: PredictedRows, scores: Array, outputs: list[str], kind: str) -> None:
    """One class against the rest: of two classes the second one's curve, of more than ten those of the worst ten."""
    from sklearn.metrics import precision_recall_curve, roc_curve

    chances, lines = _probabilities(scores), []
    places = {rows.name(place): place for place in np.unique(rows.label).tolist()}
    worst = [name for name, values in measure(rows).items() if "recall" in values][:MOST_CURVES]
    for number, name in list(enumerate(outputs))[1 if len(outputs) == 2 else 0 :]:
        if name not in worst:
            continue
        truth = rows.label == places[name]
        if truth.all() or not truth.any():
            continue  # without both kinds of rows there is no curve
        if kind == "roc":
            across, up, _ = roc_curve(truth, chances[:, number])
        else:
            up, across, _ = precision_recall_curve(truth, chances[:, number])
        lines.append((axes.plot(across, up, lw=1)[0], _short(name)))
    names = ("false positive rate", "true positive rate") if kind == "roc" else ("recall", "precision")
    axes.set(xlabel=names[0], ylabel=names[1], xlim=(-0.01, 1.01), ylim=(-0.01, 1.02))
    if lines:
        # Matplotlib leaves out names that begin with _, and reads $ as mathematics.
        legend = axes.legend(
            [line for line, _ in lines], [str(at) for at in range(len(lines))], fontsize=7, title="class"
        )
        for text, (_, name) in zip(legend.get_texts(), lines, strict=True):
            text.set_parse_math(False)
            text.set_text(name)
