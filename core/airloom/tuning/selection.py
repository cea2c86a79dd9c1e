"""Which trial of a study is the best: of several objectives by the rule that the pipeline file states."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from airloom.errors import JobFailed
from airloom.spec.tuning import TuneSection

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


@dataclass(frozen=True)
class SelectedTrial:
    """The best trial.

    Attributes:
        number: of its row.
        value: of the objective that decides.
        values: of all objectives.
        front: numbers of the Pareto front, for several objectives.
    """

    number: int
    value: float
    values: dict[str, float]
    front: list[int]


def best(tune: TuneSection, trials: "list[FrozenTrial]") -> SelectedTrial:
    """Select the best of the complete trials.

    Of several objectives: among the trials that keep `pick.where`, the best by `pick.best`; ties go to the one on the
    Pareto front, then to the earlier one. Such a trial need not be on the front only where an equal one is.

    Args:
        tune: objectives and rule.
        trials: complete ones.

    Raises:
        JobFailed: none keeps the bounds; the message has the nearest.
    """
    names = [target.metric for target in tune.targets]
    signs = {target.metric: -1.0 if target.direction == "maximize" else 1.0 for target in tune.targets}
    table = {trial.number: dict(zip(names, trial.values, strict=True)) for trial in trials}
    pareto = front(table, signs) if len(names) > 1 else []
    by = tune.pick.best if tune.pick else names[0]
    where = tune.pick.where if tune.pick else {}
    allowed = {n: values for n, values in table.items() if all(bound.holds(values[m]) for m, bound in where.items())}
    if not allowed:
        nearest = min(table, key=lambda n: signs[by] * table[n][by])
        shown = ", ".join(f"{name} {value:g}" for name, value in table[nearest].items())
        message = f"none of {len(table)} trials keeps tune.pick.where; the best by {by} has {shown}"
        raise JobFailed(message, "widen tune.pick.where, or the search space, and run more trials")
    number = min(allowed, key=lambda n: (signs[by] * allowed[n][by], n not in pareto, n))
    return SelectedTrial(number, allowed[number][by], allowed[number], pareto)


def front(table: dict[int, dict[str, float]], signs: dict[str, float]) -> list[int]:
    """The trials that no other one beats: better in one objective and as good in all."""

    def beats(rival: dict[str, float], trial: dict[str, float]) -> bool:
        pairs = [(signs[name] * rival[name], signs[name] * trial[name]) for name in signs]
        return all(left <= right for left, right in pairs) and any(left < right for left, right in pairs)

    return [n for n, values in table.items() if not any(beats(rival, values) for rival in table.values())]
