"""How often the gate errs: stored predictions, resampled where the null just holds, through the gate itself."""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from airloom.errors import GateError
from airloom.evaluation import predictions
from airloom.evaluation.bootstrap import Pair
from airloom.evaluation.evaluate import FOLDER, PREDICTIONS, tasks_of
from airloom.evaluation.gate.alpha_spending import Tries
from airloom.evaluation.gate.evidence import compared, judge_rows
from airloom.evaluation.predictions import PredictedRows
from airloom.settings import Settings
from airloom.spec.gate import GateSection
from airloom.spec.pipeline import Pipeline
from airloom.tracking import runs as mlflow_runs

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

Array = np.ndarray[Any, Any]
CONFIDENCE = 0.95
RESAMPLES = 2_000  # of each simulated decision by a metric of all rows, at most: thousands of decisions are simulated
WEAKEST, STRONGEST = 0.05, 50.0  # tilt: beyond it one row alone would be drawn


@dataclass(frozen=True)
class Share:
    """Of `trials` simulated decisions, how many promoted, with an exact interval (Clopper & Pearson 1934)."""

    promoted: int
    trials: int
    gain: float  # the true gain of the candidates that were drawn
    interval: tuple[float, float]


@dataclass(frozen=True)
class Simulation:
    """The gate's error rates on one pipeline's stored predictions."""

    run: str  # the MLflow run whose predictions were resampled
    stored_rows: int
    rows: int
    alpha: float  # of the policy
    spent: float  # what the simulated try may use of it
    false_promotions: Share  # at the boundary of the null
    power: Share  # at the effect and size that the policy states
    collected: list[str] = field(default_factory=list)  # newer MLflow runs, whose predictions are gone

    def to_dict(self) -> dict[str, Any]:
        """Plain types."""
        return asdict(self)


def simulate(settings: Settings, pipeline: Pipeline, trials: int = 500, seed: int = 0, tries: int = 1) -> Simulation:
    """Simulate decisions on the newest stored predictions of candidate and champion.

    The null's boundary is the candidate that is just not good enough: no better where it must be superior, worse by the
    whole margin where it must be non-inferior. Minimums, limits and slices are left out, since they could only hide
    false promotions; comparison, spending and bootstrap are those of the pipeline.

    Args:
        settings: of this installation.
        pipeline: whose policy and runs.
        trials: decisions at the boundary, and as many at the planned effect.
        seed: of the resampling.
        tries: which try on the test split is simulated.

    Raises:
        ConfigError: the pipeline has no gate.
        GateError: no run compared a candidate with a champion yet, or none of them has its predictions any more.
    """
    policy = pipeline.policy.model_copy(update={"at_most": {}, "slices": {}, "at_least": {}})
    client = mlflow_runs.client(settings)
    with mlflow_runs.connection_errors(settings):
        run, rows, collected = _newest(settings, client, pipeline)
    rows = replace(rows, slices={})
    if isinstance(compared(policy, rows)[0], Pair):
        fewer = min(policy.against_champion.resamples, RESAMPLES)
        against = policy.against_champion.model_copy(update={"resamples": fewer})
        policy = policy.model_copy(update={"against_champion": against})
    rule, spent = policy.against_champion, Tries(tries, tries)
    size = rule.planned.rows or len(rows)
    generator = np.random.default_rng(seed)
    boundary = _share(policy, rows, -rule.margin, len(rows), trials, generator, spent)
    power = _share(policy, rows, rule.planned.effect, size, trials, generator, spent)
    return Simulation(run, len(rows), size, rule.alpha, spent.alpha(rule.alpha), boundary, power, collected)


def _share(
    policy: GateSection,
    rows: PredictedRows,
    gain: float,
    size: int,
    trials: int,
    generator: np.random.Generator,
    spent: Tries,
) -> Share:
    population, chances = population_at(policy, rows, gain)
    draw, promoted = _drawing(population, chances, size / len(rows)), 0
    for number in range(trials):
        try:
            promoted += judge_rows(policy, {}, draw(generator), spent, number).passed
        except GateError:  # a sample in which the metric is not defined promotes nobody
            continue
    return Share(promoted, trials, gain, exact_interval(promoted, trials))


def _drawing(population: PredictedRows, chances: Array, share: float) -> Callable[[np.random.Generator], PredictedRows]:
    """Draws a test split from a population: rows, or whole groups where each has a chance.

    Args:
        population: the stored rows twice, see `population_at`.
        chances: of each row or group.
        share: the size of a sample by that of the stored rows.
    """
    count = round(len(chances) / 2 * share)
    if population.groups is None:
        return lambda generator: population.take(generator.choice(len(population), count, p=chances))
    order = np.argsort(population.groups, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(population.groups[order])) + 1)

    def draw(generator: np.random.Generator) -> PredictedRows:
        drawn = [members[place] for place in generator.choice(len(members), count, p=chances)]
        sizes = [len(rows) for rows in drawn]  # a group that is drawn twice is two groups
        return replace(population.take(np.concatenate(drawn)), groups=np.repeat(np.arange(count), sizes))

    return draw


def population_at(policy: GateSection, rows: PredictedRows, gain: float) -> tuple[PredictedRows, Array]:
    """As `at_gain`; by a metric of all rows, or of groups, each row or group tilts by its influence on the difference.

    Raises:
        GateError: as `at_gain`.
    """
    rule = policy.against_champion
    if not rule.group:
        rows = replace(rows, groups=None)
    if not isinstance(compared(policy, rows)[0], Pair):
        return at_gain(rows, rule.metric, gain)
    assert rows.champion is not None  # noqa: S101 - `_newest` looked
    both = _joined(rows, replace(rows, candidate=rows.champion, champion=rows.candidate))
    pair, _ = compared(policy, both)
    assert isinstance(pair, Pair)  # noqa: S101 - as before
    for drawn in (0, RESAMPLES):
        influence, difference = pair.influence(drawn)
        chances = _tilted(influence / max(np.abs(influence).max(), 1e-300), difference, gain)
        if chances is not None:
            return both, chances
    message = f"on the stored rows the models differ by less than {gain:+g} in {rule.metric}"
    raise GateError(message, "simulate after a run whose candidate differs from the champion")


def _tilted(influence: Array, difference: Callable[[Array], float], gain: float) -> Array | None:
    """The chances by which the gain is the one wanted; None where none are found.

    Outwards, as so strong a tilt that one row alone is drawn turns back, or leaves a metric without a value.
    """
    direction, low, high = (1 if gain > difference(_weights(influence, 0.0)) else -1), 0.0, WEAKEST
    while direction * (gain - difference(_weights(influence, direction * high))) > 0:
        low, high = high, high * 1.5
        if high > STRONGEST or not np.isfinite(difference(_weights(influence, direction * high))):
            return None
    for _ in range(40):
        tilt = (low + high) / 2
        beyond = direction * (difference(_weights(influence, direction * tilt)) - gain) >= 0
        low, high = (low, tilt) if beyond else (tilt, high)
    return _weights(influence, direction * low)


def at_gain(rows: PredictedRows, metric: str, gain: float) -> tuple[PredictedRows, Array]:
    """A population in which the mean gain is `gain`, as like the stored rows as can be: rows, and each one's chance.

    The stored rows and the same with both models exchanged: there nobody is better. Their chances are then tilted
    exponentially until the mean is right, which of all changes is the smallest (least Kullback-Leibler divergence).

    Raises:
        GateError: the models hardly differ on the stored rows, so that no choice of rows has such a gain.
    """
    assert rows.champion is not None  # noqa: S101 - `_newest` looked
    both = _joined(rows, replace(rows, candidate=rows.champion, champion=rows.candidate))
    gains = both.merit(both.candidate, metric).astype(float) - both.merit(both.champion, metric).astype(float)  # type: ignore[arg-type]
    if abs(gain) >= np.abs(gains).max():
        message = f"on the stored rows the models differ by less than {gain:+g} in {metric}"
        raise GateError(message, "simulate after a run whose candidate differs from the champion")
    low, high = -1e6, 1e6
    for _ in range(200):
        tilt = (low + high) / 2
        low, high = (tilt, high) if _weights(gains, tilt) @ gains < gain else (low, tilt)
    return both, _weights(gains, (low + high) / 2)


def _weights(gains: Array, tilt: float) -> Array:
    exponent = tilt * gains
    weights = np.exp(exponent - exponent.max())
    return weights / weights.sum()  # type: ignore[no-any-return]


def _joined(first: PredictedRows, second: PredictedRows) -> PredictedRows:
    def of(upper: Any, lower: Any) -> Any:
        predicted, loss = np.concatenate([upper.predicted, lower.predicted]), np.concatenate([upper.loss, lower.loss])
        kept = {name: np.concatenate([values, lower.kept[name]]) for name, values in upper.kept.items()}
        return type(upper)(predicted, loss, kept=kept)

    groups = first.groups
    if groups is not None:
        numbers = np.unique(groups, return_inverse=True)[1]
        groups = np.concatenate([numbers, numbers + numbers.max() + 1])
    return replace(
        first,
        label=np.concatenate([first.label, second.label]),
        candidate=of(first.candidate, second.candidate),
        champion=of(first.champion, second.champion),
        slices={name: np.concatenate([mask, second.slices[name]]) for name, mask in first.slices.items()},
        groups=groups,
    )


def exact_interval(successes: int, trials: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The exact interval of a share (Clopper & Pearson 1934)."""
    from scipy.stats import beta

    tail = (1 - confidence) / 2
    low = float(beta.ppf(tail, successes, trials - successes + 1)) if successes else 0.0
    high = float(beta.ppf(1 - tail, successes + 1, trials - successes)) if successes < trials else 1.0
    return low, high


def _newest(settings: Settings, client: "MlflowClient", pipeline: Pipeline) -> tuple[str, PredictedRows, list[str]]:
    """The newest run that still has its predictions of a candidate and a champion, its rows, and the newer runs."""
    hint = f"run `airloom run {pipeline.pipeline}` until a second model was evaluated"
    collected: list[str] = []
    for run in _comparing(settings, client, pipeline, hint):
        run_id = str(run.info.run_id)
        if not any(file.path == PREDICTIONS for file in client.list_artifacts(run_id, FOLDER)):
            collected.append(run_id)
            continue
        with tempfile.TemporaryDirectory(prefix="airloom-simulate-") as folder:
            path = Path(client.download_artifacts(run_id, PREDICTIONS, folder))
            task, own = tasks_of(settings, pipeline)
            return run_id, predictions.read(path, with_champion=True, task=task, own=own), collected
    if collected:
        message = f"no run of {pipeline.pipeline} has its stored predictions any more"
        gone = f"the file was collected in {len(collected)}: {', '.join(collected[:3])}"
        raise GateError(f"{message}; {gone}{', …' if len(collected) > 3 else ''}", hint)
    raise GateError(f"no run of {pipeline.pipeline} compared a candidate with a champion yet", hint)


def _comparing(settings: Settings, client: "MlflowClient", pipeline: Pipeline, hint: str) -> "Iterator[Run]":
    """The runs that compared a candidate with a champion, newest first."""
    experiment = client.get_experiment_by_name(mlflow_runs.experiment_name(settings, pipeline.pipeline))
    if experiment is None:
        raise GateError(f"pipeline {pipeline.pipeline} has no stored predictions yet", hint)
    numbers = pipeline.policy.against_champion.metric in ("mae", "mse", "rmse", "r2")
    metric = "size_mb" if pipeline.task or pipeline.evaluate.metrics else "mae" if numbers else "accuracy"
    query, newest_first = f"metrics.champion_test_{metric} >= 0", ["attributes.start_time DESC"]
    return mlflow_runs.pages(client.search_runs, [experiment.experiment_id], query, order_by=newest_first)


def render(simulation: Simulation) -> str:
    """For people."""
    lines = [
        f"{simulation.stored_rows} stored rows of MLflow run {simulation.run}, "
        f"alpha {simulation.alpha}, of it {simulation.spent:.4f} spent"
    ]
    if simulation.collected:
        lines.append(f"newer, but without their predictions, which were collected: {', '.join(simulation.collected)}")
    for name, share, rows in (
        ("false promotions", simulation.false_promotions, simulation.stored_rows),
        ("power", simulation.power, simulation.rows),
    ):
        low, high = share.interval
        lines.append(
            f"{name}: {share.promoted} of {share.trials} promoted at a true gain of {share.gain:+g} with {rows} rows: "
            f"{share.promoted / share.trials:.3f}, 95 % interval {low:.3f} to {high:.3f}"
        )
    return "\n".join(lines)
