"""Look at studies; changes nothing."""

import csv
import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airloom.contracts import Record
from airloom.errors import JobFailed
from airloom.files import is_new
from airloom.settings import Settings
from airloom.tuning import foreign
from airloom.tuning.selection import front
from airloom.tuning.slots import Slot, Slots, Tally
from airloom.tuning.study import METRICS, open_study

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial


@dataclass(frozen=True)
class StudyStatus:
    """How far a study is.

    Attributes:
        study: its name.
        tally: its counts.
    """

    study: str
    tally: Tally

    @property
    def state(self) -> str:
        """`running`, `waiting`, `finished` or `failed`."""
        if self.tally.failed:
            return "failed"
        return "finished" if self.tally.over else "running" if self.tally.taken else "waiting"

    def to_dict(self) -> dict[str, Any]:
        """All in one mapping, as `--json` prints it."""
        return {"study": self.study, "state": self.state, **vars(self.tally)}


@dataclass(frozen=True)
class ForeignTrial(Record):
    """A row that somebody added by plain Optuna; one of state WAITING is taken by the next slot.

    Attributes:
        trial: its number in Optuna.
        state: as Optuna has it.
        values: of the objectives, by metric.
        parameters: of the row; of one that waits, those that were enqueued.
    """

    trial: int
    state: str
    values: dict[str, float]
    parameters: dict[str, Any]


@dataclass(frozen=True)
class StudyDetail(StudyStatus):
    """A study slot by slot.

    Attributes:
        slots: its trials.
        foreign: what is in Optuna's study beside them, and counted nowhere.
    """

    slots: list[Slot]
    foreign: list[ForeignTrial]

    def to_dict(self) -> dict[str, Any]:
        """With slots and foreign rows under names of their own."""
        rows = {"slots": [slot.to_dict() for slot in self.slots], "foreign": [row.to_dict() for row in self.foreign]}
        return {**super().to_dict(), **rows}


@dataclass(frozen=True)
class RankedTrial(Record):
    """One of the best trials.

    Attributes:
        trial: number of its row in Optuna.
        values: of the objectives, by metric.
        parameters: of the search space.
    """

    trial: int
    values: dict[str, float]
    parameters: dict[str, Any]


def list_studies(settings: Settings) -> list[StudyStatus]:
    """All studies, oldest first."""
    if is_new(settings.database_address):
        return []
    slots = _slots(settings)
    return [StudyStatus(name, slots.tally(name)) for name in slots.names()]


def show_study(settings: Settings, study: str) -> StudyDetail:
    """A study with its slots.

    Raises:
        JobFailed: there is none of that name.
    """
    study = settings.kept(study)
    slots = None if is_new(settings.database_address) else _slots(settings)
    tally = slots.tally(study) if slots else None
    if not slots or not tally or not tally.trials:
        raise JobFailed(f"there is no study {study}", "`airloom study list` shows those that there are")
    return StudyDetail(study, tally, slots.all(study), foreign_trials(settings, study))


def foreign_trials(settings: Settings, study: str) -> list[ForeignTrial]:
    """The rows of a study that our workers have not drawn or taken; none where Optuna does not have the study.

    Args:
        settings: of this installation.
        study: its name.
    """
    try:
        optuna_study = open_study(settings, study).study
    except JobFailed:
        return []
    names = _metrics(optuna_study)
    return [
        ForeignTrial(
            trial=row.number,
            state=row.state.name,
            values=dict(zip(names, row.values or (), strict=False)),
            parameters=dict(row.params) or dict(row.system_attrs.get("fixed_params", {})),
        )
        for row in foreign.others(optuna_study)
    ]


def best_trials(settings: Settings, study: str, count: int = 1) -> list[RankedTrial]:
    """The best complete trials of a study's slots, best first; of several objectives the Pareto front.

    Raises:
        JobFailed: there is no such study.
    """
    from optuna.trial import TrialState

    study = settings.kept(study)
    optuna_study = open_study(settings, study).study
    complete = foreign.own(optuna_study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))
    rows = [row for row in complete if row.values]
    if len(optuna_study.directions) > 1:
        signs = {str(n): -1.0 if d.name == "MAXIMIZE" else 1.0 for n, d in enumerate(optuna_study.directions)}
        pareto = front({row.number: dict(zip(signs, row.values, strict=True)) for row in rows}, signs)
        rows = [row for row in rows if row.number in pareto]
    else:
        sign = -1 if optuna_study.directions[0].name == "MAXIMIZE" else 1
        rows = sorted(rows, key=lambda row: (sign * row.values[0], row.number))[:count]
    names = _metrics(optuna_study)
    parameters = {slot.trial: slot.parameters for slot in Slots(settings.database_address).all(study)}
    return [
        RankedTrial(
            trial=row.number,
            values=dict(zip(names, row.values, strict=True)),
            parameters=parameters.get(row.number) or dict(row.params),
        )
        for row in rows
    ]


def to_csv(settings: Settings, study: str) -> str:
    """Every row of Optuna's as CSV.

    Raises:
        JobFailed: there is no such study.
    """
    optuna_study = open_study(settings, settings.kept(study)).study
    rows, metrics = optuna_study.get_trials(deepcopy=False), _metrics(optuna_study)
    parameters = sorted({name for row in rows for name in row.params})
    attributes = sorted({name for row in rows for name in row.user_attrs})
    columns = ["trial", "state", *metrics, "begun", "ended", "steps", "foreign"]
    columns += [f"param.{name}" for name in parameters] + [f"attr.{name}" for name in attributes]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        own = [row.params.get(name, "") for name in parameters] + [row.user_attrs.get(name, "") for name in attributes]
        writer.writerow([*_cells(row, len(metrics)), *own])
    return text.getvalue()


def _cells(row: "FrozenTrial", metrics: int) -> list[Any]:
    """What every row has: number, state, values, times, what it reported by step, whether somebody else added it."""
    values = list(row.values or [""] * metrics)
    steps = json.dumps({str(step): value for step, value in row.intermediate_values.items()})
    times = [str(row.datetime_start or ""), str(row.datetime_complete or "")]
    return [row.number, row.state.name, *values, *times, steps, "" if foreign.is_own(row) else "yes"]


def _metrics(study: "Study") -> list[str]:
    names: list[str] = study.user_attrs.get(METRICS, [f"value{n}" for n in range(len(study.directions))])
    return names


def _slots(settings: Settings) -> Slots:
    settings.make_home()
    return Slots(settings.database_address)
