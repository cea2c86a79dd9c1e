"""Batch prediction from a notebook: `airloom.predict("digits@champion", "digits@v3")`."""

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airloom.errors import ConfigError
from airloom.settings import load

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from airloom.lineage.trace_record import Lineage
    from airloom.prediction.job import BatchPrediction


def predict(
    model: str,
    dataset: str,
    *,
    split: str = "",
    out: str | Path | None = None,
    commit: str = "",
    scores: bool = False,
    columns: Sequence[str] = (),
    again: bool = False,
    threads: int = 1,
    devices: int = 0,
    allow_redacted: bool = False,
    progress: Callable[[str], Any] | None = print,
) -> "Predictions":
    """Answer every row of a dataset version by a model version, in a job of its own; as `airloom predict`.

    Interrupted or killed, it keeps what is answered; asked once more it goes on. What is complete is taken as it is.

    Example: `airloom.predict("digits@champion", "digits@v3", split="test", columns=["label"]).frame()`

    Args:
        model: `digits/7`, `digits@champion`, or `digits` for the champion.
        dataset: `digits@v3`, `digits@golden`, or `digits` for the newest.
        split: only rows of this split, as the model's training had it.
        out: a Parquet file, or a folder of them, which must not exist.
        commit: a dataset, to which the answers are added as a version.
        scores: have the probability of each class.
        columns: of the dataset, to stand beside the answers.
        again: answer every row anew.
        threads: of the CPU.
        devices: whole ones to lease, for ONNX Runtime with CUDA.
        allow_redacted: answer what is left of a version whose rows were forgotten in part.
        progress: gets each line; None: nothing is said.

    Raises:
        RegistryError: there is no such model version.
        DataError: there is no such dataset version.
        ConfigError: there is no such split or column, or `out` exists.
        JobFailed: the job failed; the message says why.
    """
    from airloom.jobs.logs import for_people
    from airloom.jobs.spec import Resources
    from airloom.prediction import job
    from airloom.prediction.delivery import Target
    from airloom.prediction.request import Asked

    if isinstance(columns, str):
        raise ConfigError(f"columns is the text {columns[:80]!r}", "give a list of names")
    settings = load()
    asked = Asked(model, dataset, split, scores, list(columns), allow_redacted)
    target = Target(str(Path(out).expanduser().resolve()) if out else "", commit)
    resources = Resources(devices=devices, threads=threads, time=job.LONGEST)

    def show(line: str) -> None:
        if progress and (shown := for_people(line)):
            progress(shown)

    return Predictions(job.predict(settings, asked, target, show, again=again, resources=resources))


def logged_predictions(
    model: str = "",
    *,
    version: str = "",
    role: str = "",
    answer: str | None = None,
    since: str | datetime = "",
    until: str | datetime = "",
    last: int | None = None,
    columns: Sequence[str] | None = None,
) -> "pa.Table":
    """What the model server answered, oldest first, of the prediction log; as `airloom predictions`.

    Example: `airloom.logged_predictions("digits", since="1d", columns=["time", "prediction", "score"]).to_pandas()`

    Args:
        model: `digits`, or `digits/3` for one version; all models when left out.
        version: its number.
        role: `champion`, `canary` or `shadow`.
        answer: only this one, as the column `prediction` has it.
        since: a time in ISO 8601, UTC where it names no zone, or how long ago: `90s`, `10m`, `2h`, `1d`.
        until: the same; this moment is too late already.
        last: only so many, the newest.
        columns: only these; see `airloom.monitoring.prediction_log`.

    Raises:
        ConfigError: one of them is not of its kind.
    """
    from airloom.monitoring import prediction_query

    settings = load()
    question = prediction_query.ask(
        settings, model, version=version, role=role, answer=answer, since=since, until=until
    )
    return prediction_query.table(settings, question, last, columns)


class Predictions:
    """The answers of a batch prediction."""

    def __init__(self, record: "BatchPrediction") -> None:
        self.record = record

    @property
    def rows(self) -> int:
        """How many rows were answered."""
        return self.record.rows

    @property
    def path(self) -> Path:
        """The file or folder that was asked for; else the folder of the parts."""
        return Path(self.record.out or self.record.folder)

    def table(self) -> "pa.Table":
        """The answers, a row for each of the dataset version, in its order."""
        from pyarrow import parquet

        return parquet.read_table(self.record.folder)

    def frame(self) -> "pd.DataFrame":
        """The same as a pandas frame."""
        return self.table().to_pandas()

    def trace(self) -> "Lineage":
        """Where the answers come from; as `airloom trace` of the MLflow run."""
        from airloom.lineage.trace import trace

        return trace(load(), self.record.run)

    def __repr__(self) -> str:
        return f"<{self.rows} rows of {self.record.dataset}, answered by {self.record.model}: {self.path}>"
