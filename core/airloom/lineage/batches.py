"""Batch predictions as MLflow's runs hold them: which rows of which dataset version a model version has answered.

No file of answers is read: the id of a prediction tells the number of its row, see `BatchRecord.row_of`.
"""

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from airloom.contracts import Record
from airloom.lineage.ledger import Ledger
from airloom.monitoring import prediction_id as ids
from airloom.tracking.tags import Tag

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class BatchRecord(Record):
    """What a batch prediction has answered.

    Attributes:
        model: by its name in the registry.
        version: of it.
        dataset: digits@v3.
        content: the id of the rows that the version had then: a forgetting changes it.
        split: whose rows were answered; empty for all.
        rows: how many were.
        of: how many live rows the version had.
        time: of the ids, milliseconds since 1970: when the younger of model version and dataset version was made.
        brought: how many of the rows each commit brought, by the number of the version that it made.
    """

    model: str
    version: str
    dataset: str
    content: str
    split: str
    rows: int
    of: int
    time: int
    brought: dict[str, int] = field(default_factory=dict)

    @property
    def _first(self) -> int:
        """The number that the id of row 0 tells; the others count on from it, so that none comes twice."""
        return int.from_bytes(hashlib.sha256(self.content.encode()).digest()[:6]) % ids.NUMBERS

    def ids(self, rows: "Sequence[int] | np.ndarray[Any, Any]") -> list[str]:
        """The ids of the predictions of rows, by their numbers in the dataset version."""
        import numpy as np

        numbers = (np.asarray(rows, np.int64) + self._first) % ids.NUMBERS
        return ids.numbered(self.model, self.version, self.time, numbers)

    def row_of(self, prediction: str) -> int | None:
        """The row that a prediction's id tells; None where the id is none of this dataset version.

        An id of another dataset version, or of a served prediction of that very millisecond, is taken for one by chance
        in `of` of 2^42 cases.

        Raises:
            ValueError: it is no prediction's id.
        """
        if ids.milliseconds(prediction) != self.time or not ids.matches(prediction, self.model, self.version):
            return None
        row = (ids.number_in(prediction) - self._first) % ids.NUMBERS
        return row if row < self.of else None


@dataclass(frozen=True)
class Batch:
    """A batch prediction that is recorded.

    Attributes:
        run: its MLflow run.
        record: what it has answered.
        committed: the versions of datasets that hold its answers.
    """

    run: str
    record: BatchRecord
    committed: list[str] = field(default_factory=list)

    @classmethod
    def of_tags(cls, run: str, tags: dict[str, str]) -> Self | None:
        """Of the tags of a run; None where it is no batch prediction, or one that is not at its end."""
        if Tag.BATCH_RECORD not in tags:
            return None
        record = BatchRecord.from_dict(json.loads(tags[Tag.BATCH_RECORD]))
        return cls(run, record, tags.get(Tag.BATCH_COMMITTED, "").split())


def of_prediction(ledger: Ledger, model: str, version: str, prediction: str) -> tuple[Batch, int] | None:
    """The batch prediction that gave a prediction, and the number of its row; None where the server gave it.

    Where several did, as of a split and of all rows, it is the one with most rows.

    Args:
        ledger: where the runs stand.
        model: that answered, by its name in the registry.
        version: of it.
        prediction: the id.
    """
    runs = ledger.tagged_runs(Tag.BATCH_MODEL, [f"{model}/{version}"])
    batches = [(batch, row) for batch in _of(ledger, runs) if (row := batch.record.row_of(prediction)) is not None]
    return max(batches, key=lambda found: (found[0].record.rows, found[0].run), default=None)


def on(ledger: Ledger, datasets: Collection[str], models: Collection[tuple[str, str]]) -> list[Batch]:
    """The batch predictions of rows of these dataset versions, and those by these model versions (name, number)."""
    runs = ledger.tagged_runs(Tag.BATCH_DATASET, datasets) if datasets else {}
    if models:
        runs = runs | ledger.tagged_runs(Tag.BATCH_MODEL, [f"{name}/{number}" for name, number in models])
    return _of(ledger, runs)


def _of(ledger: Ledger, runs: Collection[str]) -> list[Batch]:
    tagged = ((run, ledger.run(run)) for run in sorted(runs))
    batches = (Batch.of_tags(identity, run.tags) for identity, run in tagged if run)
    return [batch for batch in batches if batch]
