"""How well each class is told: all of them in a file, the worst first."""

import csv
from pathlib import Path

import numpy as np

from airloom.evaluation.predictions import Answers, PredictedRows

FILE = "classes.csv"
ClassMetrics = dict[str, dict[str, float]]


def measure(rows: PredictedRows) -> ClassMetrics:
    """By name: rows, recall and, where it was ever answered, precision; with `champion_` before it, the champion's.

    Classes that only an answer says have no recall. The lowest recall comes first. Empty where nothing is classified.
    """
    if rows.kind != "classification" or not len(rows):
        return {}
    models = {"": rows.candidate} | ({"champion_": rows.champion} if rows.champion else {})
    top = max(int(max(rows.label.max(), who.predicted.max())) for who in models.values()) + 1
    counts = np.bincount(rows.label, minlength=top)
    table: dict[int, dict[str, float]] = {place: {"rows": int(counts[place])} for place in range(top)}
    for prefix, who in models.items():
        for place, values in _told(rows, who, top).items():
            table[place] |= {f"{prefix}{name}": value for name, value in values.items()}
    present = [place for place in table if len(table[place]) > 1]
    present.sort(key=lambda place: table[place].get("recall", 2.0))
    return {rows.name(place): table[place] for place in present}


def _told(rows: PredictedRows, who: Answers, top: int) -> dict[int, dict[str, float]]:
    labelled, predicted = np.bincount(rows.label, minlength=top), np.bincount(who.predicted, minlength=top)
    hits = np.bincount(rows.label, weights=who.predicted == rows.label, minlength=top)
    told: dict[int, dict[str, float]] = {place: {} for place in range(top)}
    for place in np.flatnonzero(labelled).tolist():
        told[place]["recall"] = float(hits[place] / labelled[place])
    for place in np.flatnonzero(predicted).tolist():
        told[place]["precision"] = float(hits[place] / predicted[place])
    return told


def write(table: ClassMetrics, path: Path) -> None:
    """Keep the table as CSV; no file where nothing is classified."""
    if not table:
        return
    columns = dict.fromkeys(name for values in table.values() for name in values)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["class", *columns])
        writer.writeheader()
        writer.writerows({"class": name, **values} for name, values in table.items())
