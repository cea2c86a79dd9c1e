"""Forgotten rows in the prediction log, where a pipeline's `log` keeps inputs: what has the key is erased.

A row of the log is what somebody asked the server about, and not a row of a dataset. It is known to be the same
person's where it has the dataset's key, as it stands or hashed; of other logged inputs nobody can tell: they are named.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from airloom.datasets.forgetting.places import Place
from airloom.datasets.forgetting.search import Found
from airloom.errors import AirloomError
from airloom.files import is_new
from airloom.lineage.ledger_sql import open_ledger
from airloom.monitoring import log_key, prediction_query
from airloom.monitoring.segment_retention import erase
from airloom.names import dataset_version, shown_model
from airloom.settings import Settings
from airloom.tracking.tags import Tag

COLUMNS = ("id", "version", "inputs")


class LoggedInputs:
    """The rows of the prediction log with inputs, of models that were trained on the dataset."""

    name = "logged inputs"

    def holds(self, settings: Settings, found: Found) -> Sequence[Place]:
        """See `Eraser`."""
        if is_new(settings.mlflow_tables) or not settings.prediction_log.is_dir():
            return []
        try:
            models = _trained_on(settings, found)
        except AirloomError as error:
            return [Place(self.name, "MLflow", False, f"could not be asked: {error.message}")]
        return [place for model in models for place in self._of_model(settings, found, model)]

    def _of_model(self, settings: Settings, found: Found, model: str) -> Iterator[Place]:
        wanted = _Keys(settings, found)
        others, shown = 0, shown_model(model, settings.installation)
        question = prediction_query.Question(model=model, with_inputs=True)
        for batch in prediction_query.batches(settings, question, COLUMNS):
            for row in batch.to_pylist():
                if name := wanted.within(json.loads(row["inputs"])):
                    note = f"{shown}/{row['version']} was asked about a row whose {name} is one of the keys"
                    yield Place(self.name, row["id"], True, note)
                else:
                    others += 1
        if others:
            note = (
                f"{others} logged rows have inputs without the key: nobody can tell whose they are. They go by "
                "prediction_log_days, or `airloom gc --apply --older-than 1h`"
            )
            yield Place(self.name, shown, False, note)

    def erase(self, settings: Settings, place: Place) -> None:
        """See `Eraser`."""
        erase(settings, place.name)


class _Keys:
    """The keys that are forgotten, by the names of their columns, as the log may have them."""

    def __init__(self, settings: Settings, found: Found) -> None:
        self._values = dict[str, set[str]]()
        path = settings.home / log_key.FILE
        secret = log_key.log_key(settings.home) if path.exists() else b""  # no hash was made without one
        for name, values in found.values:
            texts = self._values.setdefault(name, set())
            for value in values.to_pylist():
                forms = {_text(value)} | ({_text(float(value))} if isinstance(value, int) else set())
                texts |= forms
                if secret:
                    texts |= {_text(log_key.hashed(secret, form.encode())) for form in forms}

    def within(self, row: dict[str, Any]) -> str:
        """The column of a logged row that has one of them; empty where none has."""
        return next((name for name, texts in self._values.items() if name in row and _text(row[name]) in texts), "")


def _text(value: Any) -> str:
    """JSON, as the log has it."""
    return json.dumps(value, ensure_ascii=False, default=str)


def _trained_on(settings: Settings, found: Found) -> list[str]:
    """The models with a version that was trained on some version of the dataset."""
    numbers = sorted({manifest.number for manifest in found.manifests.values()})
    names = [dataset_version(found.dataset, number) for number in numbers]
    return sorted({model for model, _ in open_ledger(settings).tagged_versions(Tag.DATASET, names)})
