"""Looking at registered models: what there is, what a version carries, what differs between two."""

import json
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airloom.errors import RegistryError
from airloom.metadata import registry, tracking
from airloom.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

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
        return registry.get_version(settings, parts["name"], parts["version"])
    alias, aliases = parts["alias"] or "champion", _model(settings, parts["name"])["aliases"]
    if alias not in aliases:
        there = ", ".join(f"{name}@{n}" for name, n in aliases.items()) or "none"
        raise RegistryError(f"model {parts['name']} has no alias {alias!r}", f"it has {there}")
    return registry.get_version(settings, parts["name"], aliases[alias])


def list_models(settings: Settings) -> list[dict[str, Any]]:
    """All registered models with their complete versions, newest first."""
    client = tracking.client(settings)
    with tracking.reachable(settings):
        names = [model.name for model in tracking.pages(client.search_registered_models)]
    return [_model(settings, name) for name in names]


def _model(settings: Settings, name: str) -> dict[str, Any]:
    from mlflow.exceptions import MlflowException

    client = tracking.client(settings)
    with tracking.reachable(settings):
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
            "dataset": version.tags.get("airloom.dataset", ""),
            "metrics": json.loads(version.tags.get("airloom.metrics", "{}")),
            "overridden": "airloom.override" in version.tags,
            "created": version.creation_timestamp,
        }
        for version in registry.list_versions(settings, name)
    ]
    return {"name": name, "aliases": aliases, "versions": versions}


def show(settings: Settings, reference: str) -> dict[str, Any]:
    """Everything that a version carries, by plain names."""
    version = find(settings, reference)
    client = tracking.client(settings)
    with tracking.reachable(settings):
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
        found = mlflow.models.get_model_info(version.tags[registry.URI]).signature
    except mlflow.exceptions.MlflowException as error:
        return {"error": str(error)[:200]}
    return dict(found.to_dict()) if found else {}


def _packages(client: "MlflowClient", version: "ModelVersion") -> dict[str, str]:
    """What was installed where it was trained; empty for a version of before this was kept."""
    if "airloom.environment" not in version.tags:
        return {}
    with tempfile.TemporaryDirectory(prefix="airloom-model-") as folder:
        path = Path(client.download_artifacts(version.tags["airloom.train_run"], ENVIRONMENT, folder))
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
