"""Waiting until the model server answers with a version."""

import time
from collections.abc import Callable

import httpx

from airloom.errors import StackError
from airloom.names import shown_model
from airloom.settings import Settings


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
