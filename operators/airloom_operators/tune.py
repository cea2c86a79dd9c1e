"""The tuning step: workers of one study, each of which runs many trials."""

from typing import TYPE_CHECKING, Any

from airloom.pipeline.steps import tune
from airloom_operators.job import JobOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airloom.jobs.spec import JobSpec
    from airloom.jobs.states import Attempt
    from airloom.settings import Settings


class TuneOperator(JobOperator):
    """One worker of the run's study. Map it over `arguments`: `[{"worker": 0}, {"worker": 1}, …]`.

    The study has a fixed number of slots, and each worker takes the next free one, so a worker that is lost costs no
    trial: the others do its share. One that was killed starts again at once.

    Args:
        patience: as of `WaitsForJob`, but short: a study is rarely over in seconds, and waiting costs its trials.
        options: as of `JobOperator`.
    """

    step_record = tune.STEP

    def __init__(self, *, patience: float = 5, **options: Any) -> None:
        super().__init__(patience=patience, **options)

    def job_of(self, settings: "Settings", context: "Context") -> "tuple[str, JobSpec]":
        """See `WaitsForJob`; a run that had taken an earlier study needs one of its own now."""
        from airloom.tuning.slots import Slots

        run = self.run_context()
        if not Slots(settings.database_address).tally(run.key).trials:
            tune.make_study(settings, run)
        return super().job_of(settings, context)

    def goes_on(self, attempt: "Attempt") -> bool:
        """A worker trains nothing itself: whatever killed it was not its own doing."""
        from airloom.jobs.wait import was_killed

        return super().goes_on(attempt) or was_killed(attempt)
