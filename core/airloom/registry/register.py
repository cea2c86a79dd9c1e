"""Registered model versions with their lineage. MLflow's registry is the only store."""

import hashlib
import json
from typing import TYPE_CHECKING

from airloom.contracts import Decision, Evaluation, RegisteredVersion, RunContext, Snapshot, TrainedModel
from airloom.errors import RegistryError, SignatureRefused
from airloom.names import JobKey, run_of_child
from airloom.registry import keys, models, signatures
from airloom.settings import Settings
from airloom.spec.load import definition, digest
from airloom.tracking import runs
from airloom.tracking.tags import NOT_TUNED, READY, Tag

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

# Tags of the training run that its version has too.
KEPT = (Tag.CODE, Tag.ENVIRONMENT, Tag.SEED, Tag.TORCH, Tag.WEIGHTS, Tag.PRETRAINED, Tag.GRAPH, Tag.FROM)


def register(
    settings: Settings,
    ctx: RunContext,
    trained: TrainedModel,
    evaluation: Evaluation,
    decision: Decision,
) -> RegisteredVersion:
    """Make a candidate a version that the gate accepted, or that a pipeline without a gate trained.

    The same candidate always gives the same version.

    Args:
        settings: of this installation.
        ctx: of the pipeline run.
        trained: the candidate.
        evaluation: of it.
        decision: of the gate, or of a person over it.

    A version and its tags are made in one write, the mark that makes it deployable and the signature of all others
    among them: what was interrupted is either complete or not there. Its card, an artifact of the training run that a
    tag names, is written before it.

    Raises:
        RegistryError: the gate refused it, the signing key is lost, or MLflow does not answer.
        StateError: an earlier release registered versions without a signature, see `signatures.demand`.
    """
    if not decision.judged and definition(ctx).gate is not None:
        message = f"pipeline {ctx.pipeline} has a gate, which did not judge this candidate"
        raise RegistryError(message, "run its `gate` task, and register what that lets pass")
    if not decision.registers:
        reasons = "; ".join(decision.reasons)
        raise RegistryError(f"the gate refused this candidate: {reasons}", "see the evidence in the MLflow run")
    signatures.demand(settings)
    client, name, key = runs.client(settings), ctx.model, keys.signing_key(settings)
    with runs.connection_errors(settings):
        tags = lineage(client, ctx, trained, evaluation, decision) | {Tag.STATE: READY}
        version = _find(client, name, trained)
        if version is None:
            tags |= _attach_card(settings, client, name, tags)
            tags |= signatures.sign(key, name, tags)
            version = _create(client, name, trained, tags, describe(tags, decision))
        if not _is_whole(settings, version):  # made by somebody else, or changed by one
            tags |= _attach_card(settings, client, name, tags)
            _rewrite(client, version, tags | signatures.sign(key, name, tags))
    return RegisteredVersion(name, str(version.version), ctx.mlflow_run)


def ready(settings: Settings, model: str) -> None:
    """Tell before a study what would only fail after it: no key to sign with, or a champion whose signature is refused.

    Raises:
        KeyRefused: the signing key is lost or open to others.
        SignatureRefused: no key that is trusted here signed the champion as it is.
        StateError: an earlier release registered versions without a signature.
    """
    signatures.demand(settings)
    keys.signing_key(settings)
    with runs.connection_errors(settings):
        champion = models.champion(runs.client(settings), model)
    if champion is not None:
        signatures.check(settings, champion)


def _is_whole(settings: Settings, version: "ModelVersion") -> bool:
    try:
        signatures.check(settings, version)
    except SignatureRefused:
        return False
    return bool(version.tags.get(Tag.STATE) == READY)


def _rewrite(client: "MlflowClient", version: "ModelVersion", tags: dict[str, str]) -> None:
    """Give a version these tags of Airloom's and no others; the mark that makes it deployable last."""
    for tag in version.tags:
        if tag.startswith("airloom.") and tag not in tags and tag not in signatures.CHANGING:
            client.delete_model_version_tag(version.name, version.version, tag)
    for tag in sorted(tags, key=lambda tag: tag == Tag.STATE):
        client.set_model_version_tag(version.name, version.version, tag, tags[tag])


def _attach_card(settings: Settings, client: "MlflowClient", name: str, tags: dict[str, str]) -> dict[str, str]:
    """Write the card as it is at registration; `airloom model card` composes it anew. Returns the tag that names it."""
    from airloom.registry import card, card_pages

    model_card, run = card.compose(settings, client, name, "", tags), tags[Tag.TRAIN_RUN]
    text = card_pages.markdown(model_card)
    client.log_text(run, text, card.MARKDOWN)
    client.log_text(run, card_pages.page(model_card), card.HTML)
    return {Tag.CARD: card.MARKDOWN, f"{Tag.CARD}.sha256": hashlib.sha256(text.encode()).hexdigest()}


def _find(client: "MlflowClient", name: str, trained: TrainedModel) -> "ModelVersion | None":
    """The version of this very model; the oldest, should two processes have made it at once."""
    versions = client.search_model_versions(f"name = '{name}' and run_id = '{trained.mlflow_run}'")
    same = [version for version in versions if version.tags.get(Tag.MODEL_URI) == trained.model_uri]
    return min(same, key=lambda version: int(version.version), default=None)


def _create(
    client: "MlflowClient", name: str, trained: TrainedModel, tags: dict[str, str], description: str
) -> "ModelVersion":
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    version = client.create_model_version(
        name,
        source=trained.model_uri,
        run_id=trained.mlflow_run,
        tags=tags,
        description=description,
        model_id=trained.model_uri.rpartition("/")[2],
    )
    first = _find(client, name, trained) or version
    if str(first.version) != str(version.version):  # another process registered the same candidate a moment earlier
        client.delete_model_version(name, version.version)
    return first


def lineage(
    client: "MlflowClient", ctx: RunContext, trained: TrainedModel, evaluation: Evaluation, decision: Decision
) -> dict[str, str]:
    """The tags of a version, as text.

    Args:
        client: of MLflow.
        ctx: of the pipeline run.
        trained: the candidate.
        evaluation: of it.
        decision: of the gate, or of a person over it.
    """
    of_run = client.get_run(trained.mlflow_run).data.tags
    study = of_run.get(Tag.STUDY) or run_of_child(of_run[Tag.KEY])  # earlier releases did not note it
    inherited = {key: value for key, value in of_run.items() if key.startswith(KEPT)}
    # One that another installation trained stands on what it read there, not on what it was judged by here.
    foreign = Tag.FROM in of_run and Tag.SNAPSHOT_RECORD in of_run
    read = Snapshot.from_dict(json.loads(of_run[Tag.SNAPSHOT_RECORD])) if foreign else ctx.snapshot
    override = {Tag.OVERRIDE: json.dumps(decision.override)} if decision.override else {}
    pipeline = definition(ctx)
    logged = {Tag.LOG: pipeline.log.model_dump_json()} if pipeline.log else {}
    by_hand = pipeline.deploy.by_hand if pipeline.deploy else "adopt"
    asked = {Tag.BY_HAND: by_hand} if by_hand != "adopt" else {}
    return (
        inherited
        | override
        | logged
        | asked
        | {
            Tag.MODEL_URI: trained.model_uri,
            Tag.DIGESTS: json.dumps(trained.digests),
            Tag.SNAPSHOT: read.id,
            Tag.DATASET: read.version_name,
            Tag.DATASET_ID: read.version_id,
            Tag.DATASET_COMMIT: read.commit,
            Tag.TEST_SPLIT: evaluation.split,
            Tag.PIPELINE_RUN: ctx.key,
            Tag.SPEC: digest(pipeline),
            Tag.STUDY: study,
            Tag.JOB: of_run.get(Tag.JOB) or str(JobKey(study, "train")),
            Tag.RUN: ctx.mlflow_run,
            Tag.TRAIN_RUN: trained.mlflow_run,
            Tag.EVIDENCE: decision.evidence,
            Tag.EVIDENCE_SHA256: decision.evidence_sha256,
            Tag.GATE: "; ".join(decision.reasons)[:4000],
            Tag.METRICS: json.dumps(evaluation.metrics),
            Tag.PARAMETERS: json.dumps(trained.parameters),
        }
    )


def describe(tags: dict[str, str], decision: Decision) -> str:
    """A version's description in Markdown, which MLflow's registry page shows."""
    told = "Gate" if decision.judged else "Nobody judged it"
    metrics = ", ".join(f"{name} {value:.4g}" for name, value in json.loads(tags[Tag.METRICS]).items())
    lines = [
        f"Trained on **{tags[Tag.DATASET]}** by pipeline run `{tags[Tag.PIPELINE_RUN]}`.",
        "",
        f"On its test split: {metrics}.",
        "",
        f"{told}, evidence in run `{tags[Tag.RUN]}` under `{tags[Tag.EVIDENCE]}`:",
        "",
        *(f"- {reason}" for reason in decision.reasons),
    ]
    if tags[Tag.STUDY] == NOT_TUNED:
        lines[2] += " Not tuned."
    if Tag.FROM in tags:
        lines[0] = f"Taken over from **{tags[Tag.FROM]}**, trained on **{tags[Tag.DATASET]}** there, by run "
        lines[0] += f"`{tags[Tag.PIPELINE_RUN]}` here."
    if Tag.CARD in tags:
        lines += ["", f"Model card: `{tags[Tag.CARD]}` in run `{tags[Tag.TRAIN_RUN]}`"]
    if Tag.OVERRIDE in tags:
        approval = json.loads(tags[Tag.OVERRIDE])
        lines += ["", f"Let through by {approval['by']} on {approval['at']}: {approval['reason']}"]
    return "\n".join(lines)
