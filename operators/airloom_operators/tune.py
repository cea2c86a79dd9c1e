"""The tuning step: workers of one study, each of which runs many trials."""

from typing import TYPE_CHECKING

from airloom_operators.job import JobOperator

if TYPE_CHECKING:
    from airloom.jobs.states import Attempt


class TuneOperator(JobOperator):
    """One worker of the run's study. Map it over `arguments`: `[{"worker": 0}, {"worker": 1}, …]`.

    The study has a fixed number of slots, and each worker takes the next free one, so a worker that is lost costs no
    trial: the others do its share. One that was killed starts again at once.
    """

    job = "airloom.tuning.step:work"

    def goes_on(self, attempt: "Attempt") -> bool:
        """A worker trains nothing itself: whatever killed it was not its own doing."""
        from airloom.jobs.wait import was_killed

        return super().goes_on(attempt) or was_killed(attempt)
