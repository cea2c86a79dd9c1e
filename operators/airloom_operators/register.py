"""The registration step."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from airloom.contracts import Decision, Evaluation
from airloom_operators.base import StepOperator
from airloom_operators.templates import mapping, record

if TYPE_CHECKING:
    from airflow.sdk import Context


class RegisterOperator(StepOperator):
    """Make an accepted candidate a registered model version; skip, and with it all that follows, a refused one.

    Args:
        context: what `ResolveOperator` returned.
        trained: the `model` of what `TrainOperator` returned; of several candidates, each one's by name.
        evaluation: what `EvaluateOperator` returned.
        decision: what `GateOperator` returned, or `OverrideOperator`.
    """

    template_fields: Sequence[str] = ("context", "trained", "evaluation", "decision")

    def __init__(self, *, context: Any, trained: Any, evaluation: Any, decision: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.context = context
        self.trained = trained
        self.evaluation = evaluation
        self.decision = decision

    def execute(self, context: "Context") -> dict[str, Any]:  # noqa: ARG002 - everything came as arguments
        """Return the registered version."""
        from airloom.pipeline import run
        from airloom.pipeline.steps import promote

        with self.step() as settings:
            ctx, decision = self.run_context(), record(Decision, "decision", self.decision)
            self.link_to(settings, ctx)
            if not decision.promotes:
                run.finish(settings, ctx, decision)
                why = "" if decision.nothing_new else "the gate refused the candidate: "
                raise AirflowSkipException(f"{why}{'; '.join(decision.reasons)}")
            evaluation = record(Evaluation, "evaluation", self.evaluation)
            _, model = promote.chosen(mapping("trained", self.trained), evaluation)
            return promote.register(settings, ctx, model, evaluation, decision).to_dict()
