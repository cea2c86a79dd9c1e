"""Files of models in MLflow's artifact store. What MLflow knows of them stays: an old prediction is still traced.

A model is marked first, under the lock that deployments take, and then loses its files; so a deployment never gets a
model that is about to lose them, and a collection that died goes on.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airloom.deployment.generations import hold_deployments
from airloom.names import owner_of
from airloom.retention.in_use import InUse, reason
from airloom.retention.items import Removal, Rules
from airloom.settings import Settings
from airloom.tracking import runs
from airloom.tracking.claim import check
from airloom.tracking.tags import Tag

if TYPE_CHECKING:
    from mlflow import MlflowClient


def models(settings: Settings, rules: Rules, in_use: InUse) -> Iterator[Removal]:
    """Each logged model of a pipeline of this installation that still has files; those of others are theirs."""
    client = runs.client(settings)
    with runs.connection_errors(settings):
        check(settings, client)
        experiments = list(runs.pages(client.search_experiments))
        for experiment in experiments:
            name = experiment.name.removeprefix(runs.EXPERIMENTS)
            if name == experiment.name or owner_of(name) != settings.installation:
                continue
            for model in runs.pages(client.search_logged_models, [experiment.experiment_id]):
                if item := _item(settings, client, rules, in_use, name, model):
                    yield item


def _item(
    settings: Settings, client: "MlflowClient", rules: Rules, in_use: InUse, name: str, model: Any
) -> Removal | None:
    uri = f"models:/{model.model_id}"
    size = _size(_repository(model), "")
    if not size:
        return None
    parent = _parent(client, model.source_run_id)
    why = in_use.models.get(uri) or in_use.runs.get(model.source_run_id or "") or in_use.runs.get(parent)
    if not why and not rules.is_old(model.creation_timestamp / 1000):
        why = "it is younger than the retention"
    if why:
        return Removal("model", uri, size, why)

    def take() -> str:
        with hold_deployments(settings, name):  # no deployment of this model meanwhile
            if reason_now := _needed(client, rules, model):
                return reason_now
            _mark(client, name, uri, model.source_run_id)
        _repository(model).delete_artifacts("")
        return ""

    return Removal("model", uri, size, "no alias, young version, young run or job needs it", True, take)


def _needed(client: "MlflowClient", rules: Rules, model: Any) -> str:
    """What has come to need the model since the plan was made: an alias, a version, or a run that reuses it."""
    # Of any registered model: with MLflow's own client somebody may have copied the version into another one.
    for version in runs.pages(client.search_model_versions, f"tags.`{Tag.MODEL_URI}` = 'models:/{model.model_id}'"):
        registered = client.get_registered_model(version.name)
        aliases = {str(number): alias for alias, number in registered.aliases.items()}
        if why := reason(version, aliases, rules):
            return why
    since = int((rules.now - rules.older_than) * 1000)
    query = f"attributes.start_time >= {since} and tags.`{Tag.REUSED}.train` = '{model.source_run_id}'"
    return "a young run reuses it" if client.search_runs([model.experiment_id], query, max_results=1) else ""


def _mark(client: "MlflowClient", name: str, uri: str, run: str | None) -> None:
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    for version in runs.pages(client.search_model_versions, f"name = '{name}'"):
        if version.tags.get(Tag.MODEL_URI) == uri:
            client.set_model_version_tag(name, version.version, Tag.COLLECTED, today)
    if run:
        client.set_tag(run, Tag.COLLECTED, today)


def _parent(client: "MlflowClient", run: str | None) -> str:
    from mlflow.exceptions import MlflowException

    try:
        return str(client.get_run(run).data.tags.get(Tag.PARENT, "")) if run else ""
    except MlflowException:  # the run was deleted for good
        return ""


def _repository(model: Any) -> Any:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    return get_artifact_repository(model.artifact_location)


def _size(repository: Any, path: str) -> int:
    files = repository.list_artifacts(path or None)
    return sum(_size(repository, file.path) if file.is_dir else int(file.file_size or 0) for file in files)
