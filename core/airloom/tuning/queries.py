"""Look at studies; changes nothing."""

import csv
import io
import json
from typing import Any

from airloom.errors import JobFailed
from airloom.settings import Settings
from airloom.tuning.slots import Slots, Tally
from airloom.tuning.study import METRICS, open_study


def every(settings: Settings) -> list[dict[str, Any]]:
    """All studies, oldest first: `study`, `state` (running, waiting, finished, failed), and its counts."""
    slots = _slots(settings)
    return [_summary(name, slots.tally(name)) for name in slots.names()]


def one(settings: Settings, study: str) -> dict[str, Any]:
    """A study with its `slots`.

    Raises:
        JobFailed: there is none of that name.
    """
    slots = _slots(settings)
    tally = slots.tally(study)
    if not tally.trials:
        raise JobFailed(f"there is no study {study}", "`airloom study list` shows those that there are")
    return {**_summary(study, tally), "slots": [slot.to_dict() for slot in slots.all(study)]}


def best(settings: Settings, study: str, count: int = 1) -> list[dict[str, Any]]:
    """The best complete trials of a study, best first; of several objectives the Pareto front.

    Raises:
        JobFailed: there is no such study.
    """
    from optuna.trial import TrialState

    found = open_study(settings, study).study
    names = found.user_attrs.get(METRICS, [f"value{n}" for n in range(len(found.directions))])
    rows = [row for row in found.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)) if row.values]
    if len(found.directions) > 1:
        rows = found.best_trials if rows else []
    else:
        sign = -1 if found.directions[0].name == "MAXIMIZE" else 1
        rows = sorted(rows, key=lambda row: (sign * row.values[0], row.number))
    parameters = {slot.trial: slot.parameters for slot in Slots(settings.database_address).all(study)}
    return [
        {
            "trial": row.number,
            "values": dict(zip(names, row.values, strict=True)),
            "parameters": parameters.get(row.number) or dict(row.params),
        }
        for row in rows[: count if len(found.directions) == 1 else None]
    ]


def table(settings: Settings, study: str) -> str:
    """Every row of Optuna's as CSV.

    Raises:
        JobFailed: there is no such study.
    """
    found = open_study(settings, study).study
    rows = found.get_trials(deepcopy=False)
    parameters = sorted({name for row in rows for name in row.params})
    metrics = found.user_attrs.get(METRICS, [f"value{n}" for n in range(len(found.directions))])
    fixed = ["trial", "state", *metrics, "begun", "ended", "steps"]
    attributes = sorted({name for row in rows for name in row.user_attrs})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*fixed, *(f"param.{name}" for name in parameters), *(f"attr.{name}" for name in attributes)])
    for row in rows:
        times = [str(row.datetime_start or ""), str(row.datetime_complete or "")]
        values = list(row.values or [""] * len(metrics))
        steps = json.dumps({str(step): value for step, value in row.intermediate_values.items()})
        own = [row.params.get(name, "") for name in parameters] + [row.user_attrs.get(name, "") for name in attributes]
        writer.writerow([row.number, row.state.name, *values, *times, steps, *own])
    return text.getvalue()


def _summary(study: str, tally: Tally) -> dict[str, Any]:
    state = "failed" if tally.failed else "finished" if tally.over else "running" if tally.taken else "waiting"
    return {"study": study, "state": state, **vars(tally)}


def _slots(settings: Settings) -> Slots:
    settings.make_home()
    return Slots(settings.database_address)
