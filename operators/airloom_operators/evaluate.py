"""The evaluation step."""

from typing import TYPE_CHECKING, Any

from airloom.pipeline.steps import evaluate, promote
from airloom_operators.job import JobOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class EvaluateOperator(JobOperator):
    """Candidate and champion on the same frozen test split; takes {trained: …}.

    A candidate that is the champion itself, as training took it from the cache, is not compared with itself: the task
    is skipped, and with it all that follows; log, note and evidence say that there is nothing new.
    """

    step_record = evaluate.STEP

    def execute(self, context: "Context") -> Any:
        """See `JobOperator`."""
        with self.step() as settings:
            run = self.run_context()
            decision = promote.nothing_new(settings, run, self.given()["trained"])
            if decision:
                self.link_to(settings, run)
        if decision:
            self.end_without_news(context, decision)
        return super().execute(context)
