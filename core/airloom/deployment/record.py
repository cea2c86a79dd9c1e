"""The deployment record: what should serve, with a generation that only one writer can move."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import httpx

from airloom.contracts import Record
from airloom.deployment.generations import advance, generation
from airloom.errors import RegistryError, StackError
from airloom.names import shown_model
from airloom.registry import models
from airloom.settings import Settings
from airloom.tracking import runs
from airloom.tracking.claim import claim
from airloom.tracking.tags import Tag

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True)
class Deployment(Record):
    """Which version of a model should serve; as JSON it is the tag `Tag.DEPLOYMENT` of the registered model."""

    generation: int = 0  # 0: nothing was deployed yet
    champion: str = ""
    previous: str = ""  # the champion before this one, to which `roll_back` returns
    at: str = ""  # ISO 8601, UTC


def current(settings: Settings, model: str) -> Deployment:
    """What should serve now, by the tag of the registered model: `digits`, or another installation's `prod.digits`.

    Raises:
        RegistryError: there is no such model, or MLflow does not answer.
    """
    from mlflow.exceptions import MlflowException

    client = runs.client(settings)
    with runs.connection_errors(settings):
        try:
            tags = client.get_registered_model(settings.registered(model)).tags
        except MlflowException as error:
            if error.error_code not in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
                raise
            raise RegistryError(f"there is no registered model {model}", "run its pipeline first") from None
    return Deployment.from_dict(json.loads(tags.get(Tag.DEPLOYMENT, "{}")))


def deploy(settings: Settings, model: str, version: str) -> Deployment:
    """Make `version` the champion. What is champion already stays so, without a new generation.

    Raises:
        RegistryError: no such version, it is half-registered, it is another installation's, or another deployment was
            faster.
        ConfigError: another installation has the name of this one in this MLflow.
    """
    model = models.own(settings, model)
    models.deployable(settings, model, version)
    expected, before = generation(settings, model), current(settings, model)
    client = runs.client(settings)
    with runs.connection_errors(settings):
        claim(settings, client)
        champion = models.champion(client, model)
        serving = str(champion.version) if champion else ""
        if serving == version == before.champion:
            return before
        deployment = Deployment(
            generation=max(expected, before.generation) + 1,
            champion=version,
            previous=serving if serving != version else before.previous,
            at=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        with advance(settings, model, expected, deployment.generation) as moved:
            if not moved:
                message = f"another deployment of {model} was faster than that of version {version}"
                raise RegistryError(message, "look at what serves now, then deploy again")
            models.deployable(settings, model, version)  # once more: a collection may have been here
            _write(client, model, deployment)
    return deployment


def roll_back(settings: Settings, model: str) -> Deployment:
    """Make the previous champion the champion again; a second roll-back undoes the first.

    Raises:
        RegistryError: there is no previous one, it is another installation's, or another deployment was faster.
    """
    models.own(settings, model)
    previous = current(settings, model).previous
    if not previous:
        raise RegistryError(f"{model} has no previous champion", "`airloom model promote` takes any version")
    return deploy(settings, model, previous)


def _write(client: "MlflowClient", model: str, deployment: Deployment) -> None:
    client.set_registered_model_tag(model, Tag.DEPLOYMENT, json.dumps(deployment.to_dict()))
    if deployment.previous:
        client.set_registered_model_alias(model, "previous", deployment.previous)
    client.set_registered_model_alias(model, "champion", deployment.champion)


def wait_until_served(
    settings: Settings, model: str, version: str, timeout: float, log_line: Callable[[str], None]
) -> None:
    """Return when the model server answers with `version`; at once when no server was ever started here.

    Args:
        settings: of this installation.
        model: its name.
        version: the number that should serve.
        timeout: seconds to wait at most.
        log_line: is told what came of it.

    Raises:
        StackError: it does not within `timeout` seconds; the message says what the server says of it.
    """
    if not settings.model_server:
        log_line("no model server was started here; the version serves when one is")
        return
    deadline, answered = time.monotonic() + timeout, "nothing"
    headers = {"Authorization": f"Bearer {settings.model_token}"}
    model = shown_model(settings.registered(model), settings.installation)
    while time.monotonic() < deadline:
        try:
            response = httpx.get(f"{settings.model_server}/status", headers=headers, timeout=5, trust_env=False)
            status = response.raise_for_status().json()
            serving = status["models"].get(model, {}).get("version", "")
            problem = status.get("errors", {}).get(model)
            answered = problem or (f"it serves version {serving}" if serving else "nothing")
            if serving == version:
                log_line(f"{model} version {version} is served")
                return
        except httpx.HTTPStatusError as error:
            answered = f"it answers {error.response.status_code}"
        except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError) as error:
            answered = f"no answer ({type(error).__name__})"
        time.sleep(0.2)
    message = f"{model} version {version} is the champion, but {settings.model_server} does not serve it: {answered}"
    raise StackError(message, "`airloom status`; the old version keeps serving meanwhile")
