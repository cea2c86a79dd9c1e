"""Where the final training's reports and model go: journal and MLflow in the first rank, nowhere in the others."""

import copy
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from airloom.errors import MlflowAway, MlflowRefused
from airloom.training.reporting.cost import Cost
from airloom.training.reporting.journal import Journal
from airloom.training.reporting.pictures import Pictures
from airloom.training.reporting.upload import Uploader

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from torch.nn import Module

    from airloom.training.export.example import Example
log = logging.getLogger(__name__)


class OtherRank:
    """A rank that only trains."""

    def __init__(self, folder: Path, rank: int) -> None:
        self._cost = Cost(folder, rank)

    def report(self, step: int, metrics: dict[str, float]) -> None:
        """The first rank reports."""

    def picture(self, step: int, name: str, png: Callable[[], bytes]) -> None:
        """The first rank draws."""

    def sync(self) -> None:
        """Write down what this rank used."""
        self._cost.note()

    def save(self, model: "Module | Path", example: "Example") -> None:
        """The first rank saves."""

    def close(self) -> None:
        """The end of the training."""
        self.sync()

    def abandon(self) -> None:
        """The end of a training that failed."""
        self.sync()


class FirstRank(OtherRank):
    """Journal first, then MLflow; keeps the model for its export.

    Attributes:
        model: on the CPU, in evaluation mode, or its file; and an example input. None while there is none.
    """

    def __init__(self, folder: Path, api: "MlflowClient", run_id: str) -> None:
        super().__init__(folder, 0)
        self.model: tuple[Module | Path, Example] | None = None
        self._closed = False
        self._journal = Journal(folder / "metrics.jsonl")
        self._pictures = Pictures(folder / "pictures", run_id)
        self._uploader = Uploader(self._journal, folder / "metrics.sent", api, run_id, self._pictures)

    @property
    def metrics(self) -> dict[str, float]:
        """The newest value of each metric, of all attempts."""
        return dict(self._journal.last)

    def report(self, step: int, metrics: dict[str, float]) -> None:
        """Write to the journal; the thread does the rest.

        Raises:
            MlflowRefused: MLflow does not take what was reported before.
        """
        self._uploader.check()
        self._journal.add(step, metrics)

    def picture(self, step: int, name: str, png: Callable[[], bytes]) -> None:
        """Draw it into a file; the thread does the rest."""
        self._pictures.add(step, name, png)

    def sync(self) -> None:
        """Force the journal to the disk, so that no checkpoint is newer than the reports before it."""
        self._journal.sync()
        super().sync()

    def save(self, model: "Module | Path", example: "Example") -> None:
        """Keep a copy."""
        trained = model if isinstance(model, Path) else copy.deepcopy(model).cpu().eval()
        self.model = trained, example

    def close(self) -> None:
        """Have MLflow take everything.

        Raises:
            MlflowAway: it does not.
            MlflowRefused: it answers, and does not take it.
        """
        super().close()
        self._uploader.close()
        self._journal.close()
        self._closed = True

    def abandon(self) -> None:
        """Send what there is time for; a next attempt sends the rest."""
        if self._closed:
            return
        self.sync()
        try:
            self._uploader.close(timeout=3)
        except (MlflowAway, MlflowRefused) as error:
            log.warning("%s", error.message)
        self._journal.close()
