"""Registered model versions with their lineage. MLflow's registry is the only store."""

import json
from typing import TYPE_CHECKING, Any

from airloom.contracts import Decision, Evaluation, RegisteredVersion, RunContext, TrainedModel
from airloom.errors import RegistryError
from airloom.metadata import tracking
from airloom.pipeline.spec import Pipeline
from airloom.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

STATE, READY = "airloom.state", "ready"


def register(
    settings: Settings,
    pipeline: Pipeline,
    ctx: RunContext,
    trained: TrainedModel,
    evaluation: Evaluation,
    decision: Decision,
) -> RegisteredVersion:
    """Make an accepted candidate a version; the same candidate always gives the same version.

    The tag that makes a version deployable is written last: one that was interrupted is completed by the next call.

    Raises:
        RegistryError: the gate refused it, or MLflow does not answer.
    """
    if not decision.passed:
        reasons = "; ".join(decision.reasons)
        raise RegistryError(f"the gate refused this candidate: {reasons}", "see the evidence in the MLflow run")
    client, name = tracking.client(settings), pipeline.pipeline
    with tracking.reachable(settings):
        tags = _lineage(client, ctx, trained, evaluation, decision)
        version = _find(client, name, trained) or _create(client, name, trained)
        for key, value in tags.items():
            client.set_model_version_tag(name, version.version, key, value)
        client.set_model_version_tag(name, version.version, STATE, READY)
    return RegisteredVersion(name, str(version.version), ctx.mlflow_run)


def _find(client: "MlflowClient", name: str, trained: TrainedModel) -> "ModelVersion | None":
    found = client.search_model_versions(f"name = '{name}' and run_id = '{trained.mlflow_run}'")
    return next((v for v in found if v.tags.get("airloom.model_uri") == trained.model_uri), None)


def _create(client: "MlflowClient", name: str, trained: TrainedModel) -> "ModelVersion":
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    return client.create_model_version(
        name,
        source=trained.model_uri,
        run_id=trained.mlflow_run,
        tags={"airloom.model_uri": trained.model_uri},
        model_id=trained.model_uri.rpartition("/")[2],
    )


def _lineage(
    client: "MlflowClient", ctx: RunContext, trained: TrainedModel, evaluation: Evaluation, decision: Decision
) -> dict[str, str]:
    run_tags = client.get_run(trained.mlflow_run).data.tags
    code = {key: value for key, value in run_tags.items() if key.startswith("airloom.code")}
    return code | {
        "airloom.digests": json.dumps(trained.digests),
        "airloom.snapshot": ctx.snapshot.id,
        "airloom.dataset": f"{ctx.snapshot.dataset}@v{ctx.snapshot.version}",
        "airloom.dataset.id": ctx.snapshot.version_id,
        "airloom.dataset.commit": ctx.snapshot.commit,
        "airloom.pipeline_run": ctx.key,
        "airloom.run": ctx.mlflow_run,
        "airloom.train_run": trained.mlflow_run,
        "airloom.evidence": decision.evidence,
        "airloom.gate": "; ".join(decision.reasons)[:4000],
        "airloom.metrics": json.dumps(evaluation.metrics),
    }


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


def list_versions(settings: Settings, name: str) -> "list[ModelVersion]":
    """The versions that were registered completely, newest first; empty for an unknown model."""
    client = tracking.client(settings)
    with tracking.reachable(settings):
        found = [v for v in client.search_model_versions(f"name = '{name}'") if v.tags.get(STATE) == READY]
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
    uri = version.tags.get("airloom.model_uri", "")
    if not uri:
        hint = "move the alias to a version that a pipeline registered"
        raise RegistryError(f"version {version.version} of {version.name} was not registered by Airloom", hint)
    return str(uri)


def digests_of(version: Any) -> dict[str, str]:
    """The recorded sha256 of each file of a version; empty when none were recorded."""
    return dict(json.loads(version.tags.get("airloom.digests", "{}")))
