"""Rows of a study that people added by plain Optuna, with their own client, beside those of our workers.

A row of ours has the slot that it was drawn for. Any other one is foreign: samplers and pruners learn from it, as
Optuna has it, and it is counted nowhere else. One that waits (`study.enqueue_trial`) becomes ours when a worker takes
it.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

SLOT, TOKEN = "slot", "token"  # user attributes of a row of ours


def is_own(row: "FrozenTrial") -> bool:
    """Whether a worker drew the row, or took it."""
    return isinstance(row.user_attrs.get(SLOT), int) and row.state.name != "WAITING"


def own(rows: "Iterable[FrozenTrial]") -> "list[FrozenTrial]":
    """Those of our workers."""
    return [row for row in rows if is_own(row)]


def others(study: "Study") -> "list[FrozenTrial]":
    """The rows that are not ours, those that wait among them."""
    return [row for row in study.get_trials(deepcopy=False) if not is_own(row)]


def touched(study: "Study") -> bool:
    """Whether somebody added a row or enqueued one, so that the study is not what its inputs alone make of it."""
    rows = study.get_trials(deepcopy=False)
    return any(not is_own(row) or "fixed_params" in row.system_attrs for row in rows)


def without(study: "Study") -> "Study":
    """The study, or where it has foreign rows a copy in memory with ours alone, numbered anew."""
    import optuna

    if not others(study):
        return study
    copy = optuna.create_study(directions=study.directions, study_name=study.study_name)
    copy.add_trials(own(study.get_trials()))
    return copy
