"""Bring the gate its evidence, and keep its decision where people look: in the MLflow run."""

import hashlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from airloom.contracts import Decision, Evaluation, RunContext
from airloom.errors import GateError, MlflowAway
from airloom.evaluation.bootstrap import Pair, mean_of
from airloom.evaluation.evaluate import read_predictions, tasks_of
from airloom.evaluation.gate import nothing_new, page, tries
from airloom.evaluation.gate.alpha_spending import Tries
from airloom.evaluation.gate.decide import GateOutcome, SliceRows, decide
from airloom.evaluation.gate.facts import facts
from airloom.evaluation.gate.nothing_new import EVIDENCE, PAGE
from airloom.evaluation.predictions import PredictedRows
from airloom.registry import models
from airloom.settings import Settings
from airloom.spec.gate import GateSection
from airloom.spec.pipeline import Pipeline
from airloom.tasks.metrics import shown
from airloom.tasks.whole import sign
from airloom.tracking import runs, titles
from airloom.tracking.tags import Tag

if TYPE_CHECKING:
    from mlflow import MlflowClient

OVERRIDE = "gate/override.json"
Array = np.ndarray[Any, Any]


def gate(settings: Settings, pipeline: Pipeline, ctx: RunContext, evaluation: Evaluation) -> Decision:
    """Decide whether the candidate may pass, on the predictions that the evaluation kept.

    The champion itself is not judged: that is a refusal which says `nothing_new`.

    Args:
        settings: of this installation.
        pipeline: whose policy decides.
        ctx: of the pipeline run.
        evaluation: of the candidate.

    Raises:
        RegistryError: MLflow does not answer. Everything else that is missing is a refusal with its reason.
    """
    if evaluation.candidates and (known := nothing_new.look(settings, ctx, evaluation.candidates[0])):
        return known
    client = runs.client(settings)
    spent = tries.count(settings, ctx.model, evaluation.split, evaluation.candidates or [ctx.mlflow_run])
    with runs.connection_errors(settings):
        outcome, rows = _decide(client, settings, pipeline, ctx, evaluation, spent)
        evidence = _evidence(pipeline, ctx, evaluation, outcome, spent) | _classes(rows)
        text = json.dumps(evidence, indent=1)
        client.log_text(ctx.mlflow_run, text, EVIDENCE)
        client.log_text(ctx.mlflow_run, page.render(evidence, outcome, rows), PAGE)
        client.set_tag(ctx.mlflow_run, Tag.GATE, "passed" if outcome.passed else "refused")
        client.set_tag(ctx.mlflow_run, Tag.NOTE, titles.described(ctx.key, outcome.reasons, [PAGE]))
    power = outcome.comparison.power if outcome.comparison else None
    return Decision(outcome.passed, outcome.reasons, EVIDENCE, power, hashlib.sha256(text.encode()).hexdigest())


def judge_rows(
    policy: GateSection, metrics: dict[str, float], rows: PredictedRows, spent: Tries, seed: int
) -> GateOutcome:
    """The decision on these rows: what the operator and the simulation call alike.

    Args:
        policy: the pipeline's gate section.
        metrics: the candidate's, on all rows.
        rows: the predictions.
        spent: which tries on this test split the candidate is.
        seed: of the bootstrap.

    Raises:
        GateError: the policy's metric does not go with the rows.
    """
    candidate, champion = compared(policy, rows)
    parts = {name: SliceRows(mask, rows.measured(rows.candidate, mask)) for name, mask in rows.slices.items()}
    return decide(policy, metrics, candidate, champion, seed, slices=parts, tries=spent, unknown=rows.unknown())


def compared(policy: GateSection, rows: PredictedRows) -> "tuple[Array | Pair, Array | None]":
    """What the gate compares: what each row has, or both models' rows for a metric of all of them, or of groups.

    Raises:
        GateError: the policy's metric does not go with the rows.
    """
    metric, group = policy.against_champion.metric, policy.against_champion.group
    if group and rows.groups is None:
        raise GateError(f"the rows do not say which {group} they belong to", "clear `evaluate`")
    measure = rows.whole(metric)
    if measure is None and not group:
        return rows.merit(rows.candidate, metric), rows.merit(rows.champion, metric) if rows.champion else None
    if measure is None:
        rows.merit(rows.candidate, metric)  # whether there is such a metric
        measure = mean_of(lambda some: sign(metric) * rows.merit_of(some, metric))
    champion = rows.of(rows.champion) if rows.champion else None
    return Pair(metric, measure, rows.of(rows.candidate), champion, rows.groups if group else None), None


def _decide(
    client: "MlflowClient",
    settings: Settings,
    pipeline: Pipeline,
    ctx: RunContext,
    evaluation: Evaluation,
    spent: Tries,
) -> tuple[GateOutcome, PredictedRows | None]:
    champion = models.champion(client, ctx.model)
    serving = str(champion.version) if champion is not None else ""
    if serving != evaluation.champion_version:
        change = (
            f"version {evaluation.champion_version or 'none'} was evaluated, version {serving or 'none'} serves now"
        )
        return _refuse(f"the champion changed: {change}; clear `evaluate`"), None
    try:
        rows = read_predictions(client, ctx, evaluation, *tasks_of(settings, pipeline))
        if doubt := _doubt(rows, evaluation):
            return _refuse(f"the predictions are not those of this evaluation: {doubt}; clear `evaluate`"), None
        if evaluation.champion_problem:
            problem = f"the champion, version {serving}, cannot be compared with: {evaluation.champion_problem}"
            return _refuse(problem), rows
        return judge_rows(pipeline.policy, evaluation.metrics, rows, spent, pipeline.seed), rows
    except GateError as error:
        return _refuse(f"the predictions are no evidence: {error.message}"), None
    except MlflowAway:
        raise
    except Exception as error:
        # Whatever is wrong with the file: without evidence nothing passes.
        return _refuse(f"the predictions cannot be read: {type(error).__name__}: {str(error)[:200]}"), None


def _doubt(rows: PredictedRows, evaluation: Evaluation) -> str:
    """What speaks against the rows being those of the evaluation; empty: nothing."""
    if len(rows) != evaluation.rows:
        return f"{len(rows)} of {evaluation.rows} rows"
    claims = [(rows.measured(rows.candidate), evaluation.metrics)]
    claims += [(rows.measured(rows.champion), evaluation.champion_metrics)] if rows.champion else []
    for measured, claimed in claims:
        for name, value in shown(measured, claimed.keys()).items():
            # The same mean over the same rows; only rounding may differ.
            if not abs(value - claimed.get(name, float("nan"))) <= 1e-9 * max(1.0, abs(value)):
                return f"{name} is {value:.6f} there and {claimed.get(name)} in the metrics"
    return ""


def _refuse(reason: str) -> GateOutcome:
    return GateOutcome(False, [f"REFUSED: {reason}"], None)


def _classes(rows: PredictedRows | None) -> dict[str, Any]:
    """How many classes the test rows have, and which one of the models does not know."""
    if rows is None:
        return {}
    if rows.kind != "classification":
        return {"unknown_classes": rows.unknown()} if rows.classes else {}
    return {"classes": int(np.unique(rows.label).size), "unknown_classes": rows.unknown()}


def _evidence(
    pipeline: Pipeline, ctx: RunContext, evaluation: Evaluation, outcome: GateOutcome, spent: Tries
) -> dict[str, Any]:
    rule = pipeline.policy.against_champion
    return {
        "passed": outcome.passed,
        "reasons": outcome.reasons,
        "policy": pipeline.policy.model_dump(),
        **facts(pipeline, ctx, evaluation),
        "comparison": asdict(outcome.comparison) if outcome.comparison else None,
        "slice_comparisons": {name: asdict(comparison) for name, comparison in outcome.slices.items()},
        "tries": {"first": spent.first, "last": spent.last, "alpha": spent.alpha(rule.alpha), "of": rule.alpha},
        "seed": pipeline.seed,
        **({"task": pipeline.task} if pipeline.task else {}),
    }
