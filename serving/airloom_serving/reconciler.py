"""Makes the server serve what the registry says, and keeps serving when the registry is away."""

import logging
import threading
import time
from pathlib import Path
from typing import Any

from airloom.registry import models
from airloom.settings import Settings
from airloom.tracking import artifacts, runs
from airloom_serving.model import LoadedModel, load

log = logging.getLogger(__name__)
POLL_SECONDS = 2.0
LONGEST_PAUSE = 60.0


class Reconciler:
    """Polls the `champion` aliases in a thread of its own.

    `models` is replaced as a whole, so a request sees either the old or the new version, never something between.
    """

    def __init__(self, settings: Settings) -> None:
        self.models: dict[str, LoadedModel] = {}
        self.errors: dict[str, str] = {}
        self._settings = settings
        self._later: dict[tuple[str, str], tuple[float, float]] = {}  # retry not before, pause
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
        """One comparison of what serves with what should."""
        client = runs.client(self._settings)
        wanted = {}
        for model in runs.pages(client.search_registered_models):
            version = models.champion(client, model.name)
            if version is not None:
                wanted[model.name] = version
        self.errors = {name: text for name, text in self.errors.items() if name in wanted}
        for name in set(self.models) - set(wanted):
            self.models = {other: model for other, model in self.models.items() if other != name}
            log.info("%s has no champion any more, it is not served", name)
        for name, version in wanted.items():
            serving = self.models.get(name)
            if serving is None or serving.version != str(version.version):
                self._swap(name, version)
            else:
                self.errors.pop(name, None)  # the alias moved back from a version that could not be loaded

    def _swap(self, name: str, version: Any) -> None:
        key = (name, str(version.version))
        not_before, pause = self._later.get(key, (0.0, POLL_SECONDS))
        if time.monotonic() < not_before:
            return
        try:
            uri, digests = models.uri_of(version), models.digests_of(version)
            model = load(*key, artifacts.fetch_model(self._settings, uri, digests, self._folder(uri)), digests)
        except Exception as error:
            # Refused files and unreadable models alike: the old version keeps serving, and status says why.
            log.error("version %s of %s is not loaded: %s", version.version, name, error)
            self.errors[name] = f"version {version.version}: {error}"[:500]
            self._later[key] = (time.monotonic() + pause, min(2 * pause, LONGEST_PAUSE))
            return
        self.models = {**self.models, name: model}
        self.errors.pop(name, None)
        self._later.pop(key, None)
        log.info("serving version %s of %s", version.version, name)

    def _folder(self, uri: str) -> Path:
        return self._settings.home / "cache" / "served" / uri.rpartition("/")[2]
