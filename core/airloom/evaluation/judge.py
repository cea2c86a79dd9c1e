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
        doubt, candidate, other = _correct(table, evaluation)
    except Exception as error:
        # Whatever is wrong with the file: without evidence nothing passes.
        return _refuse(f"the predictions cannot be read: {type(error).__name__}: {str(error)[:200]}")
    if doubt:
        return _refuse(f"the predictions are not those of this evaluation: {doubt}; clear `evaluate`")
    return decide(pipeline.gate, evaluation.metrics, candidate, other, pipeline.seed)


def _correct(table: Any, evaluation: Evaluation) -> tuple[str, Any, Any]:
    """What speaks against the table (empty: nothing), and which rows candidate and champion have right.

    A champion's column of nulls would count as all wrong and let any candidate pass, so every cell must be there.
    """
    names = ["row", "label", "candidate", *(["champion"] if evaluation.champion_version else [])]
    columns = [table.column(name) for name in names]
    holes = [name for name, column in zip(names, columns, strict=True) if column.null_count]
    if holes or table.num_rows != evaluation.rows:
        return f"{table.num_rows} of {evaluation.rows} rows, nulls in {', '.join(holes) or 'no column'}", None, None
    rows, labels, *predicted = (column.to_numpy() for column in columns)
    candidate, *others = (answers == labels for answers in predicted)
    if rows.tolist() != list(range(len(rows))):
        return "its rows are not 0, 1, 2, …", None, None
    claims = [(candidate, evaluation.metrics), *((other, evaluation.champion_metrics) for other in others)]
    for right, metrics in claims:
        # The same mean over the same rows; only rounding may differ.
        if len(right) and not abs(float(right.mean()) - metrics.get("accuracy", -1)) < 1e-9:
            return f"accuracy is {right.mean():.6f} there and {metrics.get('accuracy')} in the metrics", None, None
    return "", candidate, others[0] if others else None


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
