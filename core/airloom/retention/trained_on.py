"""What MLflow has that was made of forgotten rows: models, and evaluations of single rows. Both are named, not erased.

A model is what its weights are; only a new training, of a version without the rows, does away with them. The answers of
an evaluation are the gate's evidence, which its digest guards.
"""

from collections.abc import Sequence

from airloom.datasets.forgetting.places import Place
from airloom.datasets.forgetting.search import Found
from airloom.errors import AirloomError
from airloom.files import is_new
from airloom.lineage.ledger import Ledger
from airloom.lineage.ledger_sql import open_ledger
from airloom.names import dataset_version
from airloom.settings import Settings
from airloom.tracking.tags import Tag


def _versions(found: Found) -> list[str]:
    return [dataset_version(found.dataset, number) for number in sorted(found.live)]


def _is_new(settings: Settings) -> bool:
    """Whether nothing was ever trained here."""
    return is_new(settings.mlflow_tables)


def _unknown(name: str, error: AirloomError) -> list[Place]:
    return [Place(name, "MLflow", False, f"could not be asked: {error.message}")]


class Models:
    """The model versions that were trained on a version with such a row."""

    name = "model"

    def holds(self, settings: Settings, found: Found) -> Sequence[Place]:
        """See `Eraser`."""
        if _is_new(settings):
            return []
        try:
            ledger = open_ledger(settings)
            trained, aliases = ledger.tagged_versions(Tag.DATASET, _versions(found)), ledger.aliases()
        except AirloomError as error:
            return _unknown(self.name, error)
        return [self._place(*which, version, aliases) for which, version in sorted(trained.items())]

    def _place(self, model: str, number: str, version: str, aliases: dict[str, dict[str, str]]) -> Place:
        own = "".join(f" @{alias}" for alias, aliased in sorted(aliases.get(model, {}).items()) if aliased == number)
        note = f"trained on {version}{own}; its golden answers are of rows of it: train anew, then `airloom gc`"
        return Place(self.name, f"{model}/{number}", False, note)

    def erase(self, settings: Settings, place: Place) -> None:
        """See `Eraser`: a model forgets nothing."""


class Evidence:
    """The runs that keep answers to single rows, by the rows' numbers; they have no keys and no inputs."""

    name = "evidence"

    def holds(self, settings: Settings, found: Found) -> Sequence[Place]:
        """See `Eraser`."""
        if _is_new(settings):
            return []
        try:
            return self._places(open_ledger(settings), found)
        except AirloomError as error:
            return _unknown(self.name, error)

    def _places(self, ledger: Ledger, found: Found) -> list[Place]:
        runs = ledger.tagged_runs(Tag.DATASET, _versions(found))
        children = ledger.tagged_runs(Tag.PARENT)
        return [
            Place(self.name, f"run {run}", False, f"on {version}: labels and answers of its test rows, by number")
            for run, version in sorted(runs.items())
            if run not in children
        ]

    def erase(self, settings: Settings, place: Place) -> None:
        """See `Eraser`: the gate's digest guards it."""
