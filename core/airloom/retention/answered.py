"""Batch predictions of forgotten rows: the answers that this home keeps are erased, what left it is named."""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from airloom.datasets.forgetting.places import Place
from airloom.datasets.forgetting.search import Found
from airloom.errors import AirloomError, CorruptFile
from airloom.files import is_new, read_json
from airloom.lineage import batches
from airloom.lineage.ledger_sql import open_ledger
from airloom.names import dataset_version
from airloom.prediction.folder import PLACE, Folder
from airloom.settings import Settings


class Answers:
    """The batch predictions of versions that hold the rows."""

    name = "answers"

    def holds(self, settings: Settings, found: Found) -> Sequence[Place]:
        """See `Eraser`."""
        return [*self._kept(settings, found), *self._committed(settings, found)]

    def _kept(self, settings: Settings, found: Found) -> Iterator[Place]:
        folder = settings.home / PLACE
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            if (version := _version(path, found)) is None:
                continue
            yield Place(self.name, path.name, True, f"answers to {version}; asked again, what is left is answered")
            for target in Folder(settings, path.name).delivered():
                if target.startswith("out "):
                    yield Place(self.name, target.removeprefix("out "), False, f"a copy of the answers to {version}")

    def _committed(self, settings: Settings, found: Found) -> Iterator[Place]:
        if is_new(settings.mlflow_tables):
            return
        try:
            names = [dataset_version(found.dataset, number) for number in sorted(found.live)]
            recorded = batches.on(open_ledger(settings), names, [])
        except AirloomError as error:
            yield Place(self.name, "MLflow", False, f"could not be asked: {error.message}")
            return
        for batch in recorded:
            for version in batch.committed:
                note = f"answers to {batch.record.dataset}: forget the same keys in {version.partition('@')[0]}"
                yield Place(self.name, version, False, note)

    def erase(self, settings: Settings, place: Place) -> None:
        """See `Eraser`."""
        shutil.rmtree(settings.home / PLACE / Path(place.name).name, ignore_errors=True)


def _version(folder: Path, found: Found) -> str | None:
    """The version whose rows were answered, where it holds such rows; also where nobody can tell."""
    try:
        request = read_json(folder / "request.json", "")
    except CorruptFile:
        return "an unknown version"
    rows = request["snapshot"] if request else {}
    if not rows or rows["dataset"] != found.dataset or rows["version"] not in found.live:
        return None
    return dataset_version(rows["dataset"], rows["version"])
