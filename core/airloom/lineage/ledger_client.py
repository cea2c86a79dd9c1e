"""The ledger over MLflow's client, for a server whose tables cannot be reached. It is as slow as MLflow's searches."""

from collections.abc import Collection, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airloom.lineage.ledger import Brief, Run, Version
from airloom.settings import Settings
from airloom.tracking import runs as mlflow_runs
from airloom.tracking.tags import Tag

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowRun
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel


class ClientLedger:
    """Each list is fetched once, page by page, however many there are."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._api = mlflow_runs.reader(settings)

    def numbers(self) -> list[tuple[str, str, str]]:
        return sorted((v.name, str(v.version), v.run_id or "") for v in self._versions)

    def version(self, model: str, number: str) -> Version | None:
        version = self._or_none(lambda: self._api.get_model_version(model, number))
        return Version(model, number, version.run_id or "", dict(version.tags)) if version else None

    def aliases(self) -> dict[str, dict[str, str]]:
        return {m.name: {alias: str(n) for alias, n in m.aliases.items()} for m in self._models}

    def run(self, identity: str) -> Run | None:
        run = self._or_none(lambda: self._api.get_run(identity))
        return _run(run) if run else None

    def briefs(self, identities: Collection[str]) -> list[Brief]:
        runs = (self._runs[identity] for identity in sorted(identities) if identity in self._runs)
        return [Brief(r.id, r.name, r.status, r.tags.get(Tag.KEY, ""), r.tags.get(Tag.KIND, "")) for r in runs]

    def tagged_runs(self, key: str, values: Collection[str] | None = None) -> dict[str, str]:
        tagged = {run.id: run.tags[key] for run in self._runs.values() if key in run.tags}
        return tagged if values is None else {run: value for run, value in tagged.items() if value in set(values)}

    def tagged_versions(self, key: str, values: Collection[str] | None = None) -> dict[tuple[str, str], str]:
        tagged = {(v.name, str(v.version)): v.tags[key] for v in self._versions if key in v.tags}
        return tagged if values is None else {which: value for which, value in tagged.items() if value in set(values)}

    @cached_property
    def _runs(self) -> dict[str, Run]:
        from mlflow.entities import ViewType

        everything = ViewType.ALL
        experiments = [e.experiment_id for e in self._pages(self._api.search_experiments, view_type=everything)]
        asked = {"experiment_ids": experiments, "run_view_type": everything}
        return {r.info.run_id: _run(r) for r in self._pages(self._api.search_runs, **asked)} if experiments else {}

    @cached_property
    def _versions(self) -> "list[ModelVersion]":
        return list(self._pages(self._api.search_model_versions))

    @cached_property
    def _models(self) -> "list[RegisteredModel]":
        return list(self._pages(self._api.search_registered_models))

    def _pages(self, search: Any, **asked: Any) -> Iterator[Any]:
        with mlflow_runs.connection_errors(self._settings):
            yield from mlflow_runs.pages(search, **asked)

    def _or_none(self, get: Any) -> Any:
        from mlflow.exceptions import MlflowException

        try:
            with mlflow_runs.connection_errors(self._settings):
                return get()
        except MlflowException as error:
            if error.error_code not in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
                raise
            return None


def _run(run: "MlflowRun") -> Run:
    info, data = run.info, run.data
    deleted = info.lifecycle_stage == "deleted"
    name = info.run_name or ""
    return Run(info.run_id, name, info.status, deleted, info.artifact_uri or "", dict(data.tags), dict(data.params))
