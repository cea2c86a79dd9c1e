"""One model version, served without registry and state folder: what a Bento of `airloom package` runs."""

import logging
from pathlib import Path

from airloom.errors import AirloomError
from airloom.registry import package
from airloom.registry.package import Manifest
from airloom.settings import Settings
from airloom_serving.request_minutes import RequestMinutes
from airloom_serving.served import ServedModel
from airloom_serving.server import Log, Server
from airloom_serving.source import Source

log = logging.getLogger(__name__)


class OneModel(Source):
    """Stands where the reconciler does, and has one model, loaded once.

    Args:
        folder: with the model's files.
        manifest: of them.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        super().__init__()
        self._folder, self._manifest = folder, manifest

    @property
    def unready(self) -> str:
        """Why no request should come; empty once the model is loaded."""
        return "" if self.models else self.errors.get(self._manifest.shown, "the model is not loaded yet")

    def start(self) -> None:
        """Load it: each file must have its digest, and the golden answers must be repeated."""
        one = self._manifest
        try:
            model = ServedModel.load(one.model, one.version, self._folder, one.digests)
        except AirloomError as error:
            log.error("version %s of %s is not loaded: %s", one.version, one.shown, error)
            self.errors = {one.shown: f"version {one.version}: {error}"[:500]}
            return
        self.models = {one.shown: model}
        log.info("serving version %s of %s", one.version, one.shown)


class Nothing:
    """Stands where the log does."""

    dropped = 0

    def start(self) -> None:
        """There is nothing to begin."""

    def stop(self) -> None:
        """There is nothing to write."""

    def add(self, *_: object) -> None:
        """Nothing is kept."""


class Packaged(Server):
    """A server of one version, whose token stands in its environment; predictions are neither counted nor logged.

    Args:
        folder: with the model's files and their manifest.
    """

    def __init__(self, folder: Path) -> None:
        manifest = package.read(folder)
        nowhere = folder / "state"  # nothing is read there, and nothing written
        settings = Settings(nowhere, folder, manifest.installation, database="", prediction_log_share=0.0)
        super().__init__(settings, OneModel(folder, manifest))
        self.counter.problem = "a package keeps no counts"
        self.minutes = RequestMinutes("", self.metrics.asked)
        self._has_token = bool(settings.model_token)

    def _log(self, settings: Settings) -> Log:  # noqa: ARG002 - nothing is logged
        return Nothing()

    def start(self) -> None:
        """Load the model."""
        if not self._has_token:
            log.error("%s is empty: nobody is let in", package.TOKEN)
        self.reconciler.start()

    def stop(self) -> None:
        """Nothing of it is left to be written."""
        self.reconciler.stop()
