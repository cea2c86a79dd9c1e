"""Several candidates on the same test rows, the best one first."""

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from airloom.contracts import RunContext, TrainedModel
from airloom.evaluation import paired
from airloom.evaluation.bootstrap import Pair
from airloom.evaluation.inference import Judged
from airloom.evaluation.predictions import PredictedRows
from airloom.tasks.whole import sign
from airloom.tracking import runs
from airloom.tracking.tags import Tag

if TYPE_CHECKING:
    from mlflow import MlflowClient

PATH = "evaluation/leaderboard.json"
ALPHA, RESAMPLES, WHOLE = 0.025, 10_000, 1_000  # of each side: intervals of 95 %, each on its own


@dataclass(frozen=True)
class RankedCandidate:
    """One candidate. Values are those of the metric; `behind` is what the first one is better by, row by row."""

    name: str
    value: float
    interval: tuple[float, float]
    behind: float
    behind_interval: tuple[float, float]


def rank(candidates: dict[str, PredictedRows], metric: str, seed: int = 0) -> list[RankedCandidate]:
    """The candidates by their metric; of equal ones the first named.

    Raises:
        GateError: the metric does not go with the rows.
    """
    some = next(iter(candidates.values()))
    if some.whole(metric):
        return _by_whole(candidates, metric, seed)
    merits = {name: rows.merit(rows.candidate, metric).astype(np.float64) for name, rows in candidates.items()}
    order = sorted(merits, key=lambda name: -merits[name].mean())
    best, turn = merits[order[0]], sign(metric)
    places = []
    for name in order:
        own, gap = (paired.bootstrap(gains, ALPHA, RESAMPLES, seed) for gains in (merits[name], best - merits[name]))
        ends = sorted([turn * own.lower, turn * own.upper])
        behind = float((best - merits[name]).mean())
        value = turn * float(merits[name].mean())
        places.append(RankedCandidate(name, value, (ends[0], ends[1]), behind, (gap.lower, gap.upper)))
    return places


def _by_whole(candidates: dict[str, PredictedRows], metric: str, seed: int) -> list[RankedCandidate]:
    """The same by a metric of all rows."""
    answered = {name: rows.of(rows.candidate) for name, rows in candidates.items()}
    measures = {name: rows.whole(metric) for name, rows in candidates.items()}
    values = {name: measure.value(answered[name]) for name, measure in measures.items() if measure}
    order = sorted(values, key=lambda name: -sign(metric) * values[name])
    first, places = order[0], list[RankedCandidate]()
    if len(order) == 1:  # nobody looks at its interval
        return [RankedCandidate(first, values[first], (values[first], values[first]), 0.0, (0.0, 0.0))]
    for name in order:
        measure, count = measures[name], len(answered[name])
        assert measure is not None  # noqa: S101 - the first candidate has the same metrics
        gap = Pair(metric, measure, answered[first], answered[name]).resampled(WHOLE, seed).bounds(ALPHA)["bootstrap"]
        weights = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), WHOLE)
        low, high = np.nanquantile(measure.weighted(answered[name])(weights), [ALPHA, 1 - ALPHA])
        behind = sign(metric) * (values[first] - values[name])
        places.append(RankedCandidate(name, values[name], (float(low), float(high)), behind, (gap.lower, gap.upper)))
    return places


def keep(
    client: "MlflowClient",
    ctx: RunContext,
    models: dict[str, TrainedModel],
    judged: dict[str, Judged],
    table: list[RankedCandidate],
    metric: str,
) -> None:
    """Write the leaderboard into the parent run, and each candidate's place and cost into its own run.

    Args:
        client: of MLflow.
        ctx: of the pipeline run.
        models: the candidates by name.
        judged: the answers and cost of each.
        table: the candidates, the best first; see `rank`.
        metric: by which they are ranked.
    """
    rows = [asdict(place) | {"run": models[place.name].mlflow_run, "cost": judged[place.name].cost} for place in table]
    client.log_text(ctx.mlflow_run, json.dumps({"metric": metric, "places": rows}, indent=1), PATH)
    for number, place in enumerate(table, 1):
        run = models[place.name].mlflow_run
        runs.log_metrics(client, run, {f"test_{metric}": place.value, "place": number, **judged[place.name].cost}, 0)
        client.set_tag(run, Tag.CANDIDATE, place.name)
