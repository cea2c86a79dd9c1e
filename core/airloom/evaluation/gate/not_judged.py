"""A pipeline without a gate: what was measured is kept as evidence, and that nobody judged it."""

import hashlib
import json

from airloom.contracts import Decision, Evaluation, RunContext
from airloom.errors import GateError
from airloom.evaluation.gate.facts import facts
from airloom.settings import Settings
from airloom.spec.load import definition
from airloom.tracking import runs, titles
from airloom.tracking.tags import NOT_JUDGED, Tag

EVIDENCE = "evaluation/evidence.json"
OUTCOME = "not judged"


def keep(settings: Settings, ctx: RunContext, evaluation: Evaluation) -> Decision:
    """The decision where there is no gate: neither passed nor refused, with its evidence in the MLflow run.

    No try on the test split is spent.

    Args:
        settings: of this installation.
        ctx: of the pipeline run.
        evaluation: of the candidate.

    Raises:
        GateError: the pipeline has a gate, which has to be asked.
        RegistryError: MLflow does not answer.
    """
    pipeline = definition(ctx)
    if pipeline.gate is not None:
        message = f"pipeline {ctx.pipeline} has a gate, and nobody asked it"
        raise GateError(message, "hand on what `GateOperator` returned, or leave `gate` out of the pipeline file")
    evidence = {"judged": False, "reasons": [NOT_JUDGED], **facts(pipeline, ctx, evaluation)}
    text, client = json.dumps(evidence, indent=1), runs.client(settings)
    with runs.connection_errors(settings):
        client.log_text(ctx.mlflow_run, text, EVIDENCE)
        client.set_tag(ctx.mlflow_run, Tag.GATE, OUTCOME)
        client.set_tag(ctx.mlflow_run, Tag.NOTE, titles.described(ctx.key, [NOT_JUDGED]))
    return Decision(False, [NOT_JUDGED], EVIDENCE, None, hashlib.sha256(text.encode()).hexdigest(), judged=False)
