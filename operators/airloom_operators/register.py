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

    Where the pipeline file has no `gate`, the version says that nobody judged it. Where it has no `deploy`, and the DAG
    no task after this one, the run ends here, and a note on it says how a person makes the version serve.

    Args:
        context: what `ResolveOperator` returned.
        trained: the `model` of what `TrainOperator` returned; of several candidates, each one's by name.
        evaluation: what `EvaluateOperator` returned.
        decision: what `GateOperator` returned, or `OverrideOperator`; None for a pipeline without a gate.
    """

    template_fields: Sequence[str] = ("context", "trained", "evaluation", "decision")

    def __init__(self, *, context: Any, trained: Any, evaluation: Any, decision: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.context = context
        self.trained = trained
        self.evaluation = evaluation
        self.decision = decision

    def execute(self, context: "Context") -> dict[str, Any]:
        """Return the registered version."""
        from airloom.pipeline import run
        from airloom.pipeline.steps import promote
        from airloom.spec.load import definition

        left = ""
        with self.step() as settings:
            ctx, evaluation = self.run_context(), record(Evaluation, "evaluation", self.evaluation)
            self.link_to(settings, ctx)
            if mapping("decision", self.decision):
                decision = record(Decision, "decision", self.decision)
            else:
                decision = promote.not_judged(settings, ctx, evaluation)
            if not decision.registers:
                run.finish(settings, ctx, decision)
                why = "" if decision.nothing_new else "the gate refused the candidate: "
                raise AirflowSkipException(f"{why}{'; '.join(decision.reasons)}")
            _, model = promote.chosen(mapping("trained", self.trained), evaluation)
            registered = promote.register(settings, ctx, model, evaluation, decision)
            if definition(ctx).deploy is None and not self.downstream_task_ids:
                run.finish(settings, ctx, decision, outcome=run.REGISTERED)
                left = promote.left_to_people(settings, ctx, registered)
        if left:
            self.log.info("%s", left)
            self.note(context, left)
        return registered.to_dict()
