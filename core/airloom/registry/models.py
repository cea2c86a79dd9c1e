"""Registered models: what there is, what a version carries, what differs between two, which one is the champion."""

import json
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airloom.contracts import RunContext
from airloom.errors import RegistryError, SignatureRefused
from airloom.files import is_new
from airloom.names import ModelName, near, owner_of, shown_model
from airloom.registry import python_models, signatures
from airloom.registry.model_records import ListedModel, ListedVersion, VersionDetails, VersionDifference
from airloom.settings import Settings
from airloom.tracking import artifacts, runs
from airloom.tracking.tags import READY, Tag

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

ENVIRONMENT = "environment/requirements.txt"  # of the training run


def find(settings: Settings, reference: str) -> "ModelVersion":
    """A version by `digits/3`, by `digits@champion`, or the champion by `digits`; `production.digits` for another's.

    Raises:
        RegistryError: it is none of these, or there is no such version.
    """
    asked = ModelName.match(reference)
    if asked is None:
        hint = "write a version as digits/3, an alias as digits@champion"
        raise RegistryError(f"{reference[:80]!r} names no model version", hint)
    asked = asked.registered(settings.installation)
    if asked.version:
        return get_version(settings, asked.name, asked.version)
    alias, aliases = asked.alias or "champion", _aliases(settings, asked.name)
    if alias not in aliases:
        shown, known = _shown(settings, asked.name), ", ".join(f"{a}@{n}" for a, n in aliases.items()) or "none"
        number = re.fullmatch(r"v(\d+)", alias)  # as a version of a dataset is written; MLflow takes no such alias
        hint = f"a version is written {shown}/{number[1]}; " if number else ""
        raise RegistryError(f"model {shown} has no alias {alias!r}", f"{hint}it has {known}")
    return get_version(settings, asked.name, aliases[alias])


def own(settings: Settings, model: str) -> str:
    """The name in the registry of a model that this installation may change.

    Raises:
        RegistryError: it is another installation's.
    """
    registered = settings.registered(model)
    if (owner := owner_of(registered)) != settings.installation:
        whose = f"of the installation {owner}" if owner else "of an installation without a name"
        here = f"this one is {settings.installation}" if settings.installation else "this one has no name"
        hint = f"promote it there, or take a version of it over: `airloom model promote-from {model}`"
        raise RegistryError(f"the model {model} is {whose}, and {here}", hint)
    return registered


def _shown(settings: Settings, registered: str) -> str:
    return shown_model(registered, settings.installation)


def list_models(settings: Settings, *, everybodys: bool = False) -> list[ListedModel]:
    """This installation's registered models with their complete versions, newest first.

    Args:
        settings: of this installation.
        everybodys: those of other installations too, as `production.digits`.

    Raises:
        RegistryError: MLflow does not answer.
    """
    if is_new(settings.mlflow_uri):
        return []
    client = runs.client(settings)
    with runs.connection_errors(settings):
        registered = list(runs.pages(client.search_registered_models))
    owned = [model for model in registered if everybodys or owner_of(model.name) == settings.installation]
    return [_listed(settings, model.name, _numbers(model.aliases)) for model in owned]


def _listed(settings: Settings, name: str, aliases: dict[str, str]) -> ListedModel:
    versions = [
        ListedVersion(
            version=str(version.version),
            aliases=[alias for alias, number in aliases.items() if number == str(version.version)],
            dataset=version.tags.get(Tag.DATASET, ""),
            metrics=json.loads(version.tags.get(Tag.METRICS, "{}")),
            overridden=Tag.OVERRIDE in version.tags,
            created=version.creation_timestamp,
        )
        for version in list_versions(settings, name)
    ]
    return ListedModel(_shown(settings, name), aliases, versions)


def _aliases(settings: Settings, name: str) -> dict[str, str]:
    """The number that each alias of a model names. A search for versions leaves aliases out (MLflow 3.17)."""
    from mlflow.exceptions import MlflowException

    client = runs.reader(settings)
    with runs.connection_errors(settings):
        try:
            return _numbers(client.get_registered_model(name).aliases)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            message = f"there is no registered model {_shown(settings, name)}"
            known = [_shown(settings, model.name) for model in runs.pages(client.search_registered_models)]
            guess = near(_shown(settings, name), known)
            raise RegistryError(message, f"{guess}`airloom model list --all` shows all") from None


def _numbers(aliases: dict[str, Any]) -> dict[str, str]:
    return {alias: str(number) for alias, number in aliases.items()}


def show(settings: Settings, reference: str) -> VersionDetails:
    """Everything that a version carries; of one whose signature is refused no file is read.

    Raises:
        RegistryError: the reference names no version, or MLflow does not answer.
    """
    version = find(settings, reference)
    client = runs.reader(settings)
    signed_by, refused = _verdict(settings, version)
    with runs.connection_errors(settings):
        signature = {} if refused else _signature(version)
        packages = {} if refused else _packages(client, version)
    number = str(version.version)
    return VersionDetails(
        name=_shown(settings, version.name),
        version=number,
        aliases=[alias for alias, aliased in _aliases(settings, version.name).items() if aliased == number],
        signature=signature,
        tags={tag: value for tag, value in version.tags.items() if tag.startswith("airloom.")},
        packages=packages,
        signed_by=signed_by,
        refused=refused,
    )


def _verdict(settings: Settings, version: "ModelVersion") -> tuple[str, str]:
    """The key that signed it, or why it is refused."""
    try:
        return signatures.check(settings, version).label, ""
    except SignatureRefused as error:
        return "", str(error)


def _signature(version: "ModelVersion") -> dict[str, Any]:
    import mlflow

    try:
        signature = mlflow.models.get_model_info(uri_of(version)).signature
    except (mlflow.exceptions.MlflowException, RegistryError) as error:
        return {"error": str(error)[:200]}
    return dict(signature.to_dict()) if signature else {}


def _packages(client: "MlflowClient", version: "ModelVersion") -> dict[str, str]:
    """What was installed where it was trained; empty for a version of before this was kept."""
    if Tag.ENVIRONMENT not in version.tags:
        return {}
    with tempfile.TemporaryDirectory(prefix="airloom-model-") as folder:
        path = Path(client.download_artifacts(version.tags[Tag.TRAIN_RUN], ENVIRONMENT, folder))
        lines = path.read_text(encoding="utf-8").splitlines()
    return dict(line.split("==", 1) for line in lines if "==" in line)


def diff(settings: Settings, first: str, second: str) -> VersionDifference:
    """What differs between two versions, by name.

    Raises:
        RegistryError: one of the references names no version, or MLflow does not answer.
    """
    before, after = (_flat(show(settings, reference).to_dict()) for reference in (first, second))
    pairs = {name: (before.get(name), after.get(name)) for name in sorted({*before, *after})}
    return VersionDifference({name: pair for name, pair in pairs.items() if pair[0] != pair[1]})


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, object]:
    """The values of nested dicts, their names with dots between."""
    flat: dict[str, object] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def get_version(settings: Settings, name: str, version: str) -> "ModelVersion":
    """A version that was registered completely.

    Args:
        settings: of this installation.
        name: of the model in MLflow's registry.
        version: its number.

    Raises:
        RegistryError: there is no such version, or its registration was interrupted.
    """
    from mlflow.exceptions import MlflowException

    client = runs.reader(settings)
    with runs.connection_errors(settings):
        try:
            registered = client.get_model_version(name, version)
        except MlflowException as error:
            if error.error_code not in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
                raise
            message = f"there is no version {version} of model {_shown(settings, name)}"
            raise RegistryError(message, "`airloom model list --all` shows those that there are") from None
    if registered.tags.get(Tag.STATE) != READY:
        hint = "run its `register` task again"
        raise RegistryError(
            f"version {version} of {_shown(settings, name)} was not registered completely by Airloom", hint
        )
    return registered


def deployable(settings: Settings, name: str, version: str) -> None:
    """Refuse a version that nobody could serve.

    Args:
        settings: of this installation.
        name: of the model in MLflow's registry.
        version: its number.

    Raises:
        RegistryError: there is no such version, its registration was interrupted, its files were collected, or it is
            Python code.
        SignatureRefused: no key that is trusted here signed it as it is.
    """
    registered = get_version(settings, name, version)
    signatures.check(settings, registered)
    check_collected(settings, registered)
    python_models.check_served(settings, registered)


def check_collected(settings: Settings, version: "ModelVersion") -> None:
    """Refuse a version whose files are gone.

    Raises:
        RegistryError: they were collected.
    """
    if day := version.tags.get(Tag.COLLECTED):
        shown = _shown(settings, version.name)
        hint = f"run its pipeline again, or take a younger version: `airloom model list` has those of {shown}"
        raise RegistryError(f"the files of version {version.version} of {shown} were collected on {day}", hint)


def list_versions(settings: Settings, name: str) -> "list[ModelVersion]":
    """The versions that were registered completely, newest first; empty for an unknown name of the registry."""
    client = runs.client(settings)
    with runs.connection_errors(settings):
        versions = list(runs.pages(client.search_model_versions, f"name = '{name}'"))
    complete = [version for version in versions if version.tags.get(Tag.STATE) == READY]
    return sorted(complete, key=lambda version: int(version.version), reverse=True)


def champion(client: "MlflowClient", name: str) -> "ModelVersion | None":
    """The version with the alias `champion`, None when there is none yet."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version_by_alias(name, "champion")
    except MlflowException as error:
        if error.error_code in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
            return None
        raise


def champion_itself(client: "MlflowClient", ctx: RunContext, uri: str, digests: dict[str, str] | None = None) -> str:
    """The number of the champion where it is this very model, which an earlier run trained; else empty.

    A run that made the champion itself, and goes on or is cleared, has something new.

    Args:
        client: of MLflow.
        ctx: of the pipeline run.
        uri: of the model.
        digests: of its files; None: its address says enough.
    """
    serving = champion(client, ctx.model)
    if serving is None or serving.tags.get(Tag.MODEL_URI) != uri or serving.tags.get(Tag.RUN) == ctx.mlflow_run:
        return ""
    return str(serving.version) if digests is None or digests == digests_of(serving) else ""


def uri_of(version: "ModelVersion") -> str:
    """The address of a version's files, `models:/m-…`.

    Raises:
        RegistryError: the version was made without Airloom, or its tag was changed to another kind of address.
    """
    uri = version.tags.get(Tag.MODEL_URI, "")
    if not uri:
        hint = "move the alias to a version that a pipeline registered"
        raise RegistryError(f"version {version.version} of {version.name} was not registered by Airloom", hint)
    artifacts.model_id(uri)
    return str(uri)


def digests_of(version: "ModelVersion") -> dict[str, str]:
    """The recorded sha256 of each file of a version; empty when none were recorded."""
    return dict(json.loads(version.tags.get(Tag.DIGESTS, "{}")))
