"""Makes the server serve what the registry says, and keeps serving when the registry is away."""

import logging
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airloom.registry import models
from airloom.settings import Settings
from airloom.tracking import artifacts, runs
from airloom_serving.model import LoadedModel, load

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

log = logging.getLogger(__name__)
POLL_SECONDS = 2.0
LONGEST_PAUSE = 60.0


@dataclass(frozen=True)
class Retry:
    """When a version that could not be loaded is tried again."""

    not_before: float = 0.0  # by the monotonic clock
    pause: float = POLL_SECONDS

    def later(self) -> "Retry":
        """The time of the next try: each pause is twice as long as the one before."""
        return Retry(time.monotonic() + self.pause, min(2 * self.pause, LONGEST_PAUSE))


class Reconciler:
    """Polls the `champion` aliases in a thread of its own.

    `models` is replaced as a whole, so a request sees either the old or the new version, never something between.
    """

    def __init__(self, settings: Settings) -> None:
        self.models: dict[str, LoadedModel] = {}
        self.errors: dict[str, str] = {}
        self._settings = settings
        self._retries: dict[tuple[str, str], Retry] = {}  # by model and version
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reconciler", daemon=True)

    def start(self) -> None:
        """Begin to poll."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.once()
            except Exception as error:
                # The registry may be away in many ways; what serves goes on serving.
                log.warning("the registry does not answer, serving goes on: %s", str(error)[:300])
                self.errors["registry"] = str(error)[:300]
            self._stop.wait(POLL_SECONDS)

    def once(self) -> None:
        """Compare what serves with what should, and load what is new.

        The registry is asked once (once for each thousand models), and once more for each version that is to be loaded.
        """
        client = runs.client(self._settings)
        champions = models.champions(client)
        self.errors = {name: text for name, text in self.errors.items() if name in champions}
        for name in set(self.models) - set(champions):
            self.models = {served: model for served, model in self.models.items() if served != name}
            log.info("%s has no champion any more, it is not served", name)
        for name, number in champions.items():
            serving = self.models.get(name)
            if serving is not None and serving.version == number:
                self.errors.pop(name, None)  # the alias moved back from a version that could not be loaded
            elif time.monotonic() >= self._retries.get((name, number), Retry()).not_before:
                version = models.champion(client, name)
                if version is not None:  # its alias may have been removed a moment ago
                    self._swap(version)

    def _swap(self, version: "ModelVersion") -> None:
        """Load a version and let it answer; where it cannot be loaded the old one goes on."""
        name, number = version.name, str(version.version)
        try:
            uri, digests = models.uri_of(version), models.digests_of(version)
            folder = self._settings.home / "cache" / "served" / artifacts.model_id(uri)
            artifacts.fetch_model(self._settings, uri, digests, folder)
            model = load(name, number, folder, digests)
        except Exception as error:
            # Files that are refused and models that cannot be read alike: /status says why.
            log.error("version %s of %s is not loaded: %s", number, name, error)
            self.errors[name] = f"version {number}: {error}"[:500]
            self._retries[name, number] = self._retries.get((name, number), Retry()).later()
            return
        self.models = {**self.models, name: model}
        self.errors.pop(name, None)
        self._retries.pop((name, number), None)
        log.info("serving version %s of %s", number, name)
