"""Looking at registered models: what there is, what a version carries, what differs between two."""

import json
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airloom.errors import RegistryError
from airloom.registry import models
from airloom.settings import Settings
from airloom.tracking import runs
from airloom.tracking.tags import READY, Tag

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient

ENVIRONMENT = "environment/requirements.txt"  # of the training run
_REFERENCE = re.compile(
    r"(?P<name>[A-Za-z0-9_][A-Za-z0-9_.-]{0,99})(?:/(?P<version>\d{1,9})|@(?P<alias>[A-Za-z][\w-]{0,49}))?"
)


def find(settings: Settings, reference: str) -> "ModelVersion":
    """A version by `digits/3`, by `digits@champion`, or the champion by `digits`.

    Raises:
        RegistryError: it is none of these, or there is no such version.
    """
    parts = _REFERENCE.fullmatch(reference)
    if parts is None:
        hint = "write a version as digits/3, an alias as digits@champion"
        raise RegistryError(f"{reference[:80]!r} names no model version", hint)
    if parts["version"]:
        return models.get_version(settings, parts["name"], parts["version"])
    alias, aliases = parts["alias"] or "champion", _model(settings, parts["name"])["aliases"]
    if alias not in aliases:
        there = ", ".join(f"{name}@{n}" for name, n in aliases.items()) or "none"
        raise RegistryError(f"model {parts['name']} has no alias {alias!r}", f"it has {there}")
    return models.get_version(settings, parts["name"], aliases[alias])


def list_models(settings: Settings) -> list[dict[str, Any]]:
    """All registered models with their complete versions, newest first."""
    client = runs.client(settings)
    with runs.reachable(settings):
        names = [model.name for model in runs.pages(client.search_registered_models)]
    return [_model(settings, name) for name in names]


def _model(settings: Settings, name: str) -> dict[str, Any]:
    from mlflow.exceptions import MlflowException

    client = runs.client(settings)
    with runs.reachable(settings):
        try:
            # A search for versions leaves their aliases out (MLflow 3.17); the model has them.
            aliases = {key: str(value) for key, value in client.get_registered_model(name).aliases.items()}
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            raise RegistryError(f"there is no registered model {name}", "`airloom model list` shows all") from None
    versions = [
        {
            "version": str(version.version),
            "aliases": [alias for alias, number in aliases.items() if number == str(version.version)],
            "dataset": version.tags.get(Tag.DATASET, ""),
            "metrics": json.loads(version.tags.get(Tag.METRICS, "{}")),
            "overridden": Tag.OVERRIDE in version.tags,
            "created": version.creation_timestamp,
        }
        for version in models.list_versions(settings, name)
    ]
    return {"name": name, "aliases": aliases, "versions": versions}


def show(settings: Settings, reference: str) -> dict[str, Any]:
    """Everything that a version carries, by plain names."""
    version = find(settings, reference)
    client = runs.client(settings)
    with runs.reachable(settings):
        signature = _signature(version)
        packages = _packages(client, version)
    tags = {key.removeprefix("airloom."): value for key, value in version.tags.items() if key.startswith("airloom.")}
    for name in ("digests", "metrics", "parameters", "override"):
        if name in tags:
            tags[name] = json.loads(tags[name])
    aliases = _model(settings, version.name)["aliases"]
    mine = [alias for alias, number in aliases.items() if number == str(version.version)]
    facts = {"name": version.name, "version": str(version.version), "aliases": mine, "signature": signature}
    return {**facts, **tags, "packages": packages}


def _signature(version: "ModelVersion") -> dict[str, Any]:
    import mlflow

    try:
        found = mlflow.models.get_model_info(version.tags[Tag.MODEL_URI]).signature
    except mlflow.exceptions.MlflowException as error:
        return {"error": str(error)[:200]}
    return dict(found.to_dict()) if found else {}


def _packages(client: "MlflowClient", version: "ModelVersion") -> dict[str, str]:
    """What was installed where it was trained; empty for a version of before this was kept."""
    if Tag.ENVIRONMENT not in version.tags:
        return {}
    with tempfile.TemporaryDirectory(prefix="airloom-model-") as folder:
        path = Path(client.download_artifacts(version.tags[Tag.TRAIN_RUN], ENVIRONMENT, folder))
        lines = path.read_text(encoding="utf-8").splitlines()
    return dict(line.split("==", 1) for line in lines if "==" in line)


def diff(settings: Settings, first: str, second: str) -> dict[str, list[Any]]:
    """What differs between two versions, by name: `[of the first, of the second]`; None where one has it not."""
    before, after = (_flat(show(settings, reference)) for reference in (first, second))
    names = sorted({*before, *after})
    return {name: [before.get(name), after.get(name)] for name in names if before.get(name) != after.get(name)}


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


def get_version(settings: Settings, name: str, version: str) -> "ModelVersion":
    """A version that was registered completely.

    Raises:
        RegistryError: there is no such version, or its registration was interrupted.
    """
    from mlflow.exceptions import MlflowException

    client = runs.client(settings)
    with runs.reachable(settings):
        try:
            found = client.get_model_version(name, version)
        except MlflowException as error:
            if error.error_code not in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
                raise
            raise RegistryError(f"there is no version {version} of model {name}", "see the MLflow UI") from None
    if found.tags.get(Tag.STATE) != READY:
        hint = "run its `register` task again"
        raise RegistryError(f"version {version} of {name} was not registered completely by Airloom", hint)
    return found


def deployable(settings: Settings, name: str, version: str) -> None:
    """Refuse a version that nobody could serve.

    Raises:
        RegistryError: there is no such version, its registration was interrupted, or its files were collected.
    """
    if day := get_version(settings, name, version).tags.get(Tag.COLLECTED):
        hint = f"run its pipeline again, or take a younger version: `airloom model list` has those of {name}"
        raise RegistryError(f"the files of version {version} of {name} were collected on {day}", hint)


def list_versions(settings: Settings, name: str) -> "list[ModelVersion]":
    """The versions that were registered completely, newest first; empty for an unknown model."""
    client = runs.client(settings)
    with runs.reachable(settings):
        found = [
            v for v in runs.pages(client.search_model_versions, f"name = '{name}'") if v.tags.get(Tag.STATE) == READY
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


def champions(client: "MlflowClient") -> dict[str, str]:
    """By model the number of its champion; models without one are left out. One request for each thousand models."""
    # A search for models tells their aliases; one for versions does not (MLflow 3.17).
    models = runs.pages(client.search_registered_models)
    return {model.name: str(model.aliases["champion"]) for model in models if "champion" in model.aliases}


def uri_of(version: Any) -> str:
    """The address of a version's files, `models:/m-…`.

    Raises:
        RegistryError: the version was made without Airloom.
    """
    uri = version.tags.get(Tag.MODEL_URI, "")
    if not uri:
        hint = "move the alias to a version that a pipeline registered"
        raise RegistryError(f"version {version.version} of {version.name} was not registered by Airloom", hint)
    return str(uri)


def digests_of(version: Any) -> dict[str, str]:
    """The recorded sha256 of each file of a version; empty when none were recorded."""
    return dict(json.loads(version.tags.get(Tag.DIGESTS, "{}")))
