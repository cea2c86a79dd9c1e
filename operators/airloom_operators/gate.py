"""The gate, and the person who may let a refused candidate through."""

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import Param

from airloom.contracts import Decision
from airloom.pipeline.steps import promote
from airloom_operators.base import StepOperator
from airloom_operators.job import JobOperator
from airloom_operators.links import EvidenceLink, MlflowRunLink
from airloom_operators.templates import record

if TYPE_CHECKING:
    from airflow.sdk import Context

APPROVE, REJECT = "Approve", "Reject"


class GateOperator(JobOperator):
    """Decide on evidence whether the candidate may pass; takes {evaluation: …}."""

    step_record = promote.GATE
    operator_extra_links = (MlflowRunLink(), EvidenceLink())

    def finished(self, context: "Context", value: dict[str, Any]) -> Any:
        """Return the decision; the reasons of a refusal stand in the log and, as a note, on the run.

        The task itself goes well: refusing is its work. What follows is skipped, which the grid shows.

        Raises:
            AirflowSkipException: the candidate is the champion itself, and nothing was judged.
        """
        decision = Decision.from_dict(value)
        if decision.nothing_new:
            self.end_without_news(context, decision)
        if not decision.passed:
            reasons = "\n".join(f"- {reason}" for reason in decision.reasons)
            self.log.warning("the gate refused the candidate:\n%s", reasons)
            self.note(context, f"The gate refused the candidate:\n{reasons}")
        return value


class OverrideOperator(HITLOperator, StepOperator):
    """Ask a person whether a refused candidate may pass all the same; returns the decision, with the approval on it.

    A candidate that the gate let pass goes through at once. Nobody's answer in time is a no.

    Args:
        context: what `ResolveOperator` returned.
        decision: what `GateOperator` returned.
        within: seconds that Airflow waits for an answer.
    """

    template_fields: Sequence[str] = (*HITLOperator.template_fields, "context", "decision")
    operator_extra_links = (MlflowRunLink(), EvidenceLink())

    def __init__(self, *, context: Any, decision: Any, within: float, **kwargs: Any) -> None:
        kwargs["params"] = {  # instead of the DAG's, which Airflow puts there: they are no form for this answer
            "reason": Param("", type="string", title="Reason", description="Needed to approve.", source="task")
        }
        super().__init__(
            subject="The gate refused a candidate. Promote it all the same?",
            options=[APPROVE, REJECT],
            defaults=[REJECT],
            response_timeout=timedelta(seconds=within),
            **kwargs,
        )
        self.context = context
        self.decision = decision

    def execute(self, context: "Context") -> Any:
        """Return a passed decision; ask about a refused one."""
        with self.step() as settings:
            decision = record(Decision, "decision", self.decision)
            self.link_to(settings, self.run_context())
        if decision.passed or decision.nothing_new:
            return decision.to_dict()
        reasons = "\n".join(f"- {reason}" for reason in decision.reasons)
        self.body = f"{reasons}\n\n[Evidence in MLflow]({EvidenceLink.address(self)})"
        return super().execute(context)

    def execute_complete(self, context: "Context", event: dict[str, Any]) -> Any:
        """Record an approval; any other answer leaves the refusal as it is."""
        from airloom.evaluation.gate.override import override
        from airloom.spec.load import definition

        answer = super().execute_complete(context, event)
        with self.step():
            decision, run = record(Decision, "decision", self.decision), self.run_context()
        if list(answer["chosen_options"]) != [APPROVE]:
            return decision.to_dict()
        who = answer["responded_by_user"] or {}
        with self.step() as settings:
            self.link_to(settings, run)
            policy = definition(run).policy
            approval = {
                "by": str(who.get("name") or who.get("id") or ""),
                "reason": str(answer["params_input"].get("reason")),
            }
            at = answer["responded_at"].isoformat()
            return override(settings, policy, run, decision, at=at, **approval).to_dict()
