"""Bring the gate its evidence, and keep its decision where people look: in the MLflow run."""

import html
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from airloom.contracts import Decision, Evaluation, RunContext
from airloom.evaluation.evaluate import log_json, read_predictions
from airloom.evaluation.gate import Outcome, decide
from airloom.metadata import registry, tracking
from airloom.pipeline.spec import Pipeline
from airloom.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

EVIDENCE = "gate/evidence.json"
PAGE = "gate/evidence.html"


def gate(settings: Settings, pipeline: Pipeline, ctx: RunContext, evaluation: Evaluation) -> Decision:
    """Decide whether the candidate may pass, on the predictions that the evaluation kept.

    Raises:
        RegistryError: MLflow does not answer. Everything else that is missing is a refusal with its reason.
    """
    client = tracking.client(settings)
    with tracking.reachable(settings):
        outcome = _decide(client, pipeline, ctx, evaluation)
        evidence = {
            "passed": outcome.passed,
            "reasons": outcome.reasons,
            "policy": pipeline.gate.model_dump(),
            "metrics": evaluation.metrics,
            "champion_version": evaluation.champion_version,
            "champion_metrics": evaluation.champion_metrics,
            "comparison": asdict(outcome.comparison) if outcome.comparison else None,
            "snapshot": ctx.snapshot.id,
            "predictions": evaluation.predictions,
        }
        log_json(client, ctx.mlflow_run, evidence, EVIDENCE)
        client.log_text(ctx.mlflow_run, _page(evidence), PAGE)
        client.set_tag(ctx.mlflow_run, "airloom.gate", "passed" if outcome.passed else "refused")
    power = outcome.comparison.power if outcome.comparison else None
    return Decision(outcome.passed, outcome.reasons, EVIDENCE, power)


def _decide(client: "MlflowClient", pipeline: Pipeline, ctx: RunContext, evaluation: Evaluation) -> Outcome:
    champion = registry.champion(client, pipeline.pipeline)
    serving = str(champion.version) if champion is not None else ""
    if serving != evaluation.champion_version:
        change = (
            f"version {evaluation.champion_version or 'none'} was evaluated, version {serving or 'none'} serves now"
        )
        return _refuse(f"the champion changed: {change}; clear `evaluate`")
    try:
        table = read_predictions(client, ctx, evaluation.predictions)
        labels = table.column("label").to_numpy()
        candidate = table.column("candidate").to_numpy() == labels
        other = table.column("champion").to_numpy() == labels if serving else None
    except Exception as error:
        # Whatever is wrong with the file: without evidence nothing passes.
        return _refuse(f"the predictions cannot be read: {type(error).__name__}: {str(error)[:200]}")
    return decide(pipeline.gate, evaluation.metrics, candidate, other, pipeline.seed)


def _refuse(reason: str) -> Outcome:
    return Outcome(False, [f"REFUSED: {reason}"], None)


def _page(evidence: dict[str, Any]) -> str:
    verdict = "Passed" if evidence["passed"] else "Refused"
    reasons = "".join(f"<li>{html.escape(reason)}</li>" for reason in evidence["reasons"])
    rows = {**evidence["metrics"], **{f"champion {k}": v for k, v in evidence["champion_metrics"].items()}}
    rows |= evidence["comparison"] or {}
    cells = "".join(f"<tr><td>{html.escape(str(k))}<td>{html.escape(str(v))}" for k, v in rows.items())
    return (
        f"<!doctype html><meta charset=utf-8><title>Gate: {verdict}</title>"
        "<style>body{font:15px sans-serif;margin:2em}td{padding:.2em 1em;border-bottom:1px solid #ddd}</style>"
        f"<h1>{verdict}</h1><ul>{reasons}</ul><table>{cells}</table>"
    )
