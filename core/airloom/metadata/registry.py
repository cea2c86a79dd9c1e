"""Registered model versions with their lineage. MLflow's registry is the only store."""

import hashlib
import json
from typing import TYPE_CHECKING, Any

from airloom.contracts import Decision, Evaluation, RegisteredVersion, RunContext, TrainedModel
from airloom.errors import RegistryError
from airloom.metadata import tracking
from airloom.metadata.lineage import describe, lineage
from airloom.pipeline.spec import Pipeline
from airloom.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

STATE, READY = "airloom.state", "ready"
URI, CARD = "airloom.model_uri", "airloom.card"
COLLECTED = "airloom.collected"  # the day on which its files were removed


def register(
    settings: Settings,
    pipeline: Pipeline,
    ctx: RunContext,
    trained: TrainedModel,
    evaluation: Evaluation,
    decision: Decision,
) -> RegisteredVersion:
    """Make an accepted candidate a version; the same candidate always gives the same version.

    A version and its tags are made in one write, the mark that makes it deployable among them: what was interrupted is
    either complete or not there. Its card, an artifact of the training run that a tag names, is written before it.

    Raises:
        RegistryError: the gate refused it, or MLflow does not answer.
    """
    if not decision.promotes:
        reasons = "; ".join(decision.reasons)
        raise RegistryError(f"the gate refused this candidate: {reasons}", "see the evidence in the MLflow run")
    client, name = tracking.client(settings), pipeline.pipeline
    with tracking.reachable(settings):
        tags = lineage(client, ctx, trained, evaluation, decision) | {STATE: READY}
        version = _find(client, name, trained)
        if version is None:
            tags |= _attach_card(settings, client, name, tags)
            version = _create(client, name, trained, tags, describe(tags, decision.reasons))
        if version.tags.get(STATE) != READY:  # made by somebody else, or its mark was taken away
            for key, value in tags.items():
                client.set_model_version_tag(name, version.version, key, value)
    return RegisteredVersion(name, str(version.version), ctx.mlflow_run)


def _attach_card(settings: Settings, client: "MlflowClient", name: str, tags: dict[str, str]) -> dict[str, str]:
    """Write the card as it is at registration; `airloom model card` composes it anew. Returns the tag that names it."""
    from airloom.metadata import card, card_pages

    made, run = card.compose(settings, client, name, "", tags), tags["airloom.train_run"]
    text = card_pages.markdown(made)
    client.log_text(run, text, card.MARKDOWN)
    client.log_text(run, card_pages.page(made), card.HTML)
    return {CARD: card.MARKDOWN, f"{CARD}.sha256": hashlib.sha256(text.encode()).hexdigest()}


def _find(client: "MlflowClient", name: str, trained: TrainedModel) -> "ModelVersion | None":
    """The version of this very model; the oldest, should two processes have made it at once."""
    found = client.search_model_versions(f"name = '{name}' and run_id = '{trained.mlflow_run}'")
    same = [version for version in found if version.tags.get(URI) == trained.model_uri]
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
    made = client.create_model_version(
        name,
        source=trained.model_uri,
        run_id=trained.mlflow_run,
        tags=tags,
        description=description,
        model_id=trained.model_uri.rpartition("/")[2],
    )
    first = _find(client, name, trained) or made
    if str(first.version) != str(made.version):  # another process registered the same candidate a moment earlier
        client.delete_model_version(name, made.version)
    return first


def get_version(settings: Settings, name: str, version: str) -> "ModelVersion":
    """A version that was registered completely.

    Raises:
        RegistryError: there is no such version, or its registration was interrupted.
    """
    from mlflow.exceptions import MlflowException

    client = tracking.client(settings)
    with tracking.reachable(settings):
        try:
            found = client.get_model_version(name, version)
        except MlflowException as error:
            if error.error_code not in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
                raise
            raise RegistryError(f"there is no version {version} of model {name}", "see the MLflow UI") from None
    if found.tags.get(STATE) != READY:
        hint = "run its `register` task again"
        raise RegistryError(f"version {version} of {name} was not registered completely by Airloom", hint)
    return found


def deployable(settings: Settings, name: str, version: str) -> None:
    """Refuse a version that nobody could serve.

    Raises:
        RegistryError: there is no such version, its registration was interrupted, or its files were collected.
    """
    if day := get_version(settings, name, version).tags.get(COLLECTED):
        hint = f"run its pipeline again, or take a younger version: `airloom model list` has those of {name}"
        raise RegistryError(f"the files of version {version} of {name} were collected on {day}", hint)


def list_versions(settings: Settings, name: str) -> "list[ModelVersion]":
    """The versions that were registered completely, newest first; empty for an unknown model."""
    client = tracking.client(settings)
    with tracking.reachable(settings):
        found = [
            v for v in tracking.pages(client.search_model_versions, f"name = '{name}'") if v.tags.get(STATE) == READY
        ]
    return sorted(found, key=lambda version: int(version.version), reverse=True)


def champion(client: "MlflowClient", name: str) -> "ModelVersion | None":
    """The version with the alias `champion`, None when there is none yet."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version_by_alias(name, "champion")
    except MlflowException as error:
        if error.error_code in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
            return None
        raise


def uri_of(version: Any) -> str:
    """The address of a version's files, `models:/m-…`.

    Raises:
        RegistryError: the version was made without Airloom.
    """
    uri = version.tags.get(URI, "")
    if not uri:
        hint = "move the alias to a version that a pipeline registered"
        raise RegistryError(f"version {version.version} of {version.name} was not registered by Airloom", hint)
    return str(uri)


def digests_of(version: Any) -> dict[str, str]:
    """The recorded sha256 of each file of a version; empty when none were recorded."""
    return dict(json.loads(version.tags.get("airloom.digests", "{}")))
