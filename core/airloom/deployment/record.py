"""The deployment record: what should serve, with a generation that only one writer can move."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx

from airloom.deployment.generations import advance, generation
from airloom.errors import RegistryError, StackError
from airloom.registry import models
from airloom.settings import Settings
from airloom.tracking import runs
from airloom.tracking.tags import Tag

if TYPE_CHECKING:
    from mlflow import MlflowClient


def current(settings: Settings, model: str) -> dict[str, Any]:
    """The record: generation, champion, previous, at. Generation 0 when nothing was deployed yet."""
    from mlflow.exceptions import MlflowException

    client = runs.client(settings)
    with runs.reachable(settings):
        try:
            tags = client.get_registered_model(model).tags
        except MlflowException as error:
            if error.error_code not in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
                raise
            raise RegistryError(f"there is no registered model {model}", "run its pipeline first") from None
    return dict(json.loads(tags.get(Tag.DEPLOYMENT, '{"generation": 0, "champion": "", "previous": "", "at": ""}')))


def deploy(settings: Settings, model: str, version: str) -> dict[str, Any]:
    """Make `version` the champion. What is champion already stays so, without a new generation.

    Raises:
        RegistryError: no such version, it is half-registered, or another deployment was faster.
    """
    models.deployable(settings, model, version)
    known, record = generation(settings, model), current(settings, model)
    client = runs.client(settings)
    with runs.reachable(settings):
        serving = models.champion(client, model)
        before = str(serving.version) if serving else ""
        if before == version == record["champion"]:
            return record
        previous = before if before != version else record["previous"]
        made = {
            "generation": max(known, record["generation"]) + 1,
            "champion": version,
            "previous": previous,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        with advance(settings, model, known, made["generation"]) as moved:
            if not moved:
                message = f"another deployment of {model} was faster than that of version {version}"
                raise RegistryError(message, "look at what serves now, then deploy again")
            models.deployable(settings, model, version)  # once more: a collection may have been here
            _write(client, model, made)
    return made


def roll_back(settings: Settings, model: str) -> dict[str, Any]:
    """Make the previous champion the champion again; rolling back twice goes forth again.

    Raises:
        RegistryError: there is no previous one, or another deployment was faster.
    """
    previous = current(settings, model)["previous"]
    if not previous:
        raise RegistryError(f"{model} has no previous champion", "`airloom model promote` takes any version")
    return deploy(settings, model, previous)


def _write(client: "MlflowClient", model: str, made: dict[str, Any]) -> None:
    client.set_registered_model_tag(model, Tag.DEPLOYMENT, json.dumps(made))
    if made["previous"]:
        client.set_registered_model_alias(model, "previous", made["previous"])
    client.set_registered_model_alias(model, "champion", made["champion"])


def wait_until_served(
    settings: Settings, model: str, version: str, timeout: float, on_line: Callable[[str], None]
) -> None:
    """Return when the model server answers with `version`; at once when no server was ever started here.

    Raises:
        StackError: it does not within `timeout` seconds; the message says what the server says of it.
    """
    if not settings.model_server:
        on_line("no model server was started here; the version serves when one is")
        return
    end, seen = time.monotonic() + timeout, "nothing"
    headers = {"Authorization": f"Bearer {settings.model_token}"}
    while time.monotonic() < end:
        try:
            answer = httpx.get(f"{settings.model_server}/status", headers=headers, timeout=5, trust_env=False)
            status = answer.raise_for_status().json()
            serving = status["models"].get(model, {}).get("version", "")
            seen = status.get("errors", {}).get(model) or (f"it serves version {serving}" if serving else "nothing")
            if serving == version:
                on_line(f"{model} version {version} is served")
                return
        except httpx.HTTPStatusError as error:
            seen = f"it answers {error.response.status_code}"
        except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError) as error:
            seen = f"no answer ({type(error).__name__})"
        time.sleep(0.2)
    message = f"{model} version {version} is the champion, but {settings.model_server} does not serve it: {seen}"
    raise StackError(message, "`airloom status`; the old version keeps serving meanwhile")
