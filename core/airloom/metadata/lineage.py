"""What a model version carries with it: from which data, code, environment and decision it came."""

import json
from typing import TYPE_CHECKING

from airloom.contracts import Decision, Evaluation, RunContext, TrainedModel

if TYPE_CHECKING:
    from mlflow import MlflowClient

KEPT = ("airloom.code", "airloom.environment", "airloom.seed", "airloom.weights")  # tags of the training run


def lineage(
    client: "MlflowClient", ctx: RunContext, trained: TrainedModel, evaluation: Evaluation, decision: Decision
) -> dict[str, str]:
    """The tags of a version, as text."""
    of_run = client.get_run(trained.mlflow_run).data.tags
    kept = {key: value for key, value in of_run.items() if key.startswith(KEPT)}
    override = {"airloom.override": json.dumps(decision.override)} if decision.override else {}
    return (
        kept
        | override
        | {
            "airloom.model_uri": trained.model_uri,
            "airloom.digests": json.dumps(trained.digests),
            "airloom.snapshot": ctx.snapshot.id,
            "airloom.dataset": f"{ctx.snapshot.dataset}@v{ctx.snapshot.version}",
            "airloom.dataset.id": ctx.snapshot.version_id,
            "airloom.dataset.commit": ctx.snapshot.commit,
            "airloom.test_split": evaluation.split,
            "airloom.pipeline_run": ctx.key,
            "airloom.study": ctx.key,
            "airloom.job": f"{ctx.key}/train",
            "airloom.run": ctx.mlflow_run,
            "airloom.train_run": trained.mlflow_run,
            "airloom.evidence": decision.evidence,
            "airloom.evidence.sha256": decision.evidence_sha256,
            "airloom.gate": "; ".join(decision.reasons)[:4000],
            "airloom.metrics": json.dumps(evaluation.metrics),
            "airloom.parameters": json.dumps(trained.parameters),
        }
    )


def describe(tags: dict[str, str], reasons: list[str]) -> str:
    """A version's description in Markdown, which MLflow's registry page shows."""
    metrics = ", ".join(f"{name} {value:.4g}" for name, value in json.loads(tags["airloom.metrics"]).items())
    lines = [
        f"Trained on **{tags['airloom.dataset']}** by pipeline run `{tags['airloom.pipeline_run']}`.",
        "",
        f"On its test split: {metrics}.",
        "",
        f"Gate, evidence in run `{tags['airloom.run']}` under `{tags['airloom.evidence']}`:",
        "",
        *(f"- {reason}" for reason in reasons),
    ]
    if "airloom.card" in tags:
        lines += ["", f"Model card: `{tags['airloom.card']}` in run `{tags['airloom.train_run']}`"]
    if "airloom.override" in tags:
        approval = json.loads(tags["airloom.override"])
        lines += ["", f"Let through by {approval['by']} on {approval['at']}: {approval['reason']}"]
    return "\n".join(lines)
