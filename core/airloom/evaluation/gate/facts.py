"""What stands in every evidence, judged or not: the definition, what was measured, and on which rows."""

from typing import Any

from airloom.contracts import Evaluation, RunContext
from airloom.spec.load import digest, full
from airloom.spec.pipeline import Pipeline


def facts(pipeline: Pipeline, ctx: RunContext, evaluation: Evaluation) -> dict[str, Any]:
    """The part of an evidence that says what was measured, as JSON takes it.

    Args:
        pipeline: as the run was fixed by it.
        ctx: of the pipeline run.
        evaluation: of the candidate.
    """
    return {
        "definition": full(pipeline),
        "definition_sha256": digest(pipeline),
        "metrics": evaluation.metrics,
        "slices": evaluation.slices,
        "candidates": evaluation.candidates,
        "champion_version": evaluation.champion_version,
        "champion_metrics": evaluation.champion_metrics,
        "champion_problem": evaluation.champion_problem,
        "snapshot": ctx.snapshot.id,
        "dataset": ctx.snapshot.version_name,
        "test_split": evaluation.split,
        "predictions": {"path": evaluation.predictions, "sha256": evaluation.sha256, "rows": evaluation.rows},
    }
