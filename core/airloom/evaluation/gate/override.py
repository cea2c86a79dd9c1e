"""A person lets a refused candidate through: with a name and a reason, recorded beside the gate's evidence."""

import json

from airloom.contracts import Decision, RunContext
from airloom.errors import GateError
from airloom.evaluation.gate.evidence import OVERRIDE
from airloom.settings import Settings
from airloom.spec.gate import GateSection
from airloom.tracking import runs
from airloom.tracking.tags import Tag


def override(
    settings: Settings, policy: GateSection, ctx: RunContext, decision: Decision, *, by: str, reason: str, at: str
) -> Decision:
    """The decision with the approval on it; its verdict and reasons stay as they were.

    Args:
        settings: of this installation.
        policy: which must allow it.
        ctx: of the pipeline run.
        decision: the refusal.
        by: the person's name.
        reason: why, for those who come later.
        at: when, ISO 8601.

    Raises:
        GateError: the policy knows no overrides, the candidate is the champion already, or name or reason is missing.
        RegistryError: MLflow does not answer.
    """
    if policy.override != "ask":
        raise GateError(f"the gate of {ctx.pipeline} knows no override", "gate.override: ask allows it")
    if decision.nothing_new:
        raise GateError("the candidate is the champion itself", "there is nothing to let through")
    if not by.strip() or not reason.strip():
        raise GateError(
            f"an override needs a name and a reason, not {by!r} and {reason!r}", "say who approves, and why"
        )
    approval = {"by": by.strip(), "reason": reason.strip(), "at": at}
    client = runs.client(settings)
    with runs.connection_errors(settings):
        client.log_text(ctx.mlflow_run, json.dumps(approval | {"refused": decision.reasons}, indent=1), OVERRIDE)
        client.set_tag(ctx.mlflow_run, Tag.GATE, "overridden")
    return decision.with_(override=approval)
