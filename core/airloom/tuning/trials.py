"""The rows of Optuna's study: drawn, gone on with, and ended.

Every call waits while the database is away and may then be done twice, so each is safe to repeat.
"""

import logging
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airloom import database
from airloom.contracts import RunContext
from airloom.settings import Settings
from airloom.spec.pipeline import Pipeline
from airloom.tuning import foreign, samplers
from airloom.tuning.slots import COMPLETE, PRUNED, Slot
from airloom.tuning.space import suggester
from airloom.tuning.study import BEGINNINGS, open_study

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial, Trial

log = logging.getLogger(__name__)
REASON = "reason"  # user attribute: why the row is in state FAIL


@dataclass
class ActiveTrial:
    """A trial in work, as Optuna has it.

    Attributes:
        trial: Optuna's.
        values: of the search space, fixed ones included.
        known: steps that its earlier attempts reported.
    """

    trial: "Trial"
    values: dict[str, Any]
    known: frozenset[int] = frozenset()

    @property
    def step(self) -> int:
        """Newest one that its earlier attempts reported, -1 for none."""
        return max(self.known, default=-1)


class OptunaTrials:
    """The rows of one study, for one thread.

    Raises:
        JobFailed: there is no such study.
        ConfigError: the function that defines the search space cannot be found.
    """

    def __init__(self, settings: Settings, pipeline: Pipeline, ctx: RunContext) -> None:
        opened = open_study(settings, ctx.key, pipeline)
        self._study, self._storage, self._id = opened.study, opened.storage, opened.id
        self._pipeline, self._fixed = pipeline, ctx.parameters
        self._suggest = suggester(pipeline, settings.project, ctx.parameters)
        self._prunes = pipeline.study.pruning.name != "none"
        self._beginnings = list(self._study.user_attrs.get(BEGINNINGS, []))

    def begin(self, slot: Slot, facts: dict[str, Any]) -> ActiveTrial:
        """Create a row in state RUNNING for the slot's trial: drawn anew, or with all that its lost row had.

        Args:
            slot: as reserved.
            facts: user attributes of the row, for people.
        """
        own = {foreign.SLOT: slot.slot, foreign.TOKEN: slot.token, **facts}
        if not slot.resumes:
            return database.patiently(lambda: self._draw(slot, own))
        lost = self.get(slot.trial)
        self.fail(slot.trial, f"preempted: {slot.reason or 'its worker died'}")
        trial = database.patiently(lambda: self._again(lost, {**own, "retry_of": slot.trial}))
        return ActiveTrial(trial, dict(slot.parameters or {}), frozenset(lost.intermediate_values))

    def get(self, number: int) -> "FrozenTrial":
        """A row as it is now."""
        return database.patiently(lambda: self._storage.get_trial(self._key(number)))

    def report(self, active: ActiveTrial, step: int, value: float) -> bool:
        """Give the pruner a value; returns whether the trial goes on.

        A step that an earlier attempt reported is not judged again.
        """
        if step < 0 or step in active.known:
            return True

        def work() -> bool:
            active.trial.report(value, step)
            return not (self._prunes and active.trial.should_prune())

        return database.patiently(work)

    def note(self, active: ActiveTrial, name: str, value: Any) -> None:
        """Set a user attribute."""
        database.patiently(lambda: active.trial.set_user_attr(name, value))

    def tell(self, number: int, state: str, values: list[float] | None = None) -> None:
        """Make the row COMPLETE, with its values, PRUNED or FAIL; one that is finished stays as it is."""
        from optuna.trial import TrialState

        def work() -> None:
            try:
                self._study.tell(number, values, state=TrialState[state], skip_if_finished=True)
            except RuntimeError as error:  # exhaustive samplers end `optimize` at their last point; this is none
                if "Study.stop" not in str(error):
                    raise

        database.patiently(work)

    def fail(self, number: int, reason: str) -> None:
        """Put the row in state FAIL, for this reason; one that is finished stays as it is."""
        if not self.get(number).state.is_finished():
            text = reason[:2000]
            database.patiently(lambda: self._storage.set_trial_user_attr(self._key(number), REASON, text))
            self.tell(number, "FAIL")

    def close_orphans(self, held: dict[int, Slot]) -> int:
        """Fail our rows that are RUNNING and belong to no reservation: their workers died between two steps.

        Args:
            held: the slots in work, by number.

        Returns:
            How many there were.
        """
        from optuna.trial import TrialState

        running = database.patiently(lambda: self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))
        orphans = 0
        for row in foreign.own(running):
            slot = held.get(row.user_attrs[foreign.SLOT])
            if slot is None or slot.token != row.user_attrs.get(foreign.TOKEN):
                self.fail(row.number, "its worker died")
                orphans += 1
        return orphans

    def states(self) -> dict[int, str]:
        """The state of each row, by its number."""
        rows = database.patiently(lambda: self._study.get_trials(deepcopy=False))
        return {row.number: row.state.name for row in rows}

    def _draw(self, slot: Slot, facts: dict[str, Any]) -> ActiveTrial:
        from optuna.trial import Trial, TrialState, create_trial

        fixed = self._beginnings[slot.slot] if slot.slot < len(self._beginnings) and not slot.tries else {}
        draw = slot.slot + 1_000_003 * slot.tries
        self._study.sampler = samplers.sampler(self._pipeline, self._fixed, draw)
        row = None if fixed else self._take_enqueued(facts)
        if row is None:
            template = create_trial(
                state=TrialState.RUNNING, user_attrs=facts, system_attrs={"fixed_params": fixed} if fixed else {}
            )
            # As `Study.ask` does, but the row says from its first moment whose it is.
            row = self._storage.create_new_trial(self._id, template)
        trial = Trial(self._study, row)
        return ActiveTrial(trial, self._suggest(trial))

    def _take_enqueued(self, facts: dict[str, Any]) -> int | None:
        """A row that somebody enqueued by `study.enqueue_trial`, RUNNING and ours; None where none waits."""
        from optuna.exceptions import UpdateFinishedTrialError
        from optuna.trial import TrialState

        for waiting in self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            row = waiting._trial_id
            self._mark(row, facts)  # before it runs: a worker that dies here leaves a row that is closed as ours
            try:
                won = self._storage.set_trial_state_values(row, TrialState.RUNNING)
            except UpdateFinishedTrialError:
                won = False
            if won:
                self._mark(row, facts)  # another worker may have marked it meanwhile
                log.info("trial %d was enqueued by somebody, and is taken as one of the study's", waiting.number)
                return int(row)
            now = self._storage.get_trial(row)
            if all(now.user_attrs.get(name) == facts[name] for name in (foreign.SLOT, foreign.TOKEN)):
                self._mark(row, {foreign.SLOT: None, foreign.TOKEN: None})  # another client asked for it first
        return None

    def _mark(self, row: int, facts: dict[str, Any]) -> None:
        from optuna.exceptions import UpdateFinishedTrialError

        for name, value in facts.items():
            with suppress(UpdateFinishedTrialError):
                self._storage.set_trial_user_attr(row, name, value)

    def _again(self, lost: "FrozenTrial", facts: dict[str, Any]) -> "Trial":
        from optuna.trial import Trial, TrialState, create_trial

        template = create_trial(
            state=TrialState.RUNNING,
            params=lost.params,
            distributions=lost.distributions,
            user_attrs=facts,
            system_attrs=lost.system_attrs,
            intermediate_values=lost.intermediate_values,
        )
        return Trial(self._study, self._storage.create_new_trial(self._id, template))

    def _key(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._id, number)


def finished(row: "FrozenTrial") -> str:
    """COMPLETE or PRUNED where the row is finished, else empty."""
    return row.state.name if row.state.name in (COMPLETE, PRUNED) else ""
