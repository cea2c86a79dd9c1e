"""`import airloom` in a notebook: run a pipeline, look at its runs, read datasets.

Everything here is what the command line does, as objects that show themselves. Project and state folder are found from
the working folder, as by `airloom`.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airloom.errors import RegistryError
from airloom.settings import load

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from PIL.Image import Image

    from airloom.contracts import DatasetVersion
    from airloom.tracking.experiments import PipelineRun, PipelineRunDetails

COST = "cost."  # metrics of a training as a whole begin so


def run(
    pipeline: str,
    *,
    version: int | None = None,
    key: str = "",
    cache: bool = True,
    progress: Callable[[str], Any] | None = print,
    **parameters: Any,
) -> "Run":
    """Run all steps of a pipeline here, without Airflow.

    Example: `airloom.run("digits", epochs=3).metrics["accuracy"]`

    Args:
        pipeline: its name, or the path of its file.
        version: of the dataset; None for the newest.
        key: of an earlier run, which goes on then.
        cache: whether steps may take results of earlier runs.
        progress: gets each line; None: nothing is said.
        parameters: over those of the file.

    Raises:
        JobFailed: a step failed.
        ConfigError: the pipeline file, or what is asked for, is wrong.
    """
    from airloom.pipeline.run import find_file, run_pipeline

    settings = load()
    file = find_file(settings, pipeline)
    say = progress or (lambda _: None)
    result = run_pipeline(settings, file, say, version=version, parameters=parameters, key=key, cache=cache)
    return Run(str(result["context"]["mlflow_run"]))


def runs(pipeline: str) -> "Runs":
    """All runs of a pipeline, newest first.

    Raises:
        RegistryError: the pipeline has none.
    """
    from airloom.tracking import experiments

    shown = experiments.show(load(), pipeline)
    if not isinstance(shown, experiments.PipelineRuns):
        raise RegistryError(f"{pipeline!r} names a run, no pipeline", "airloom.Run(…) is one run")
    return Runs(shown.runs)


def compare(*targets: "Run | str") -> "pd.DataFrame":
    """What differs between runs: a row for each parameter, metric or fact, a column for each run.

    Raises:
        RegistryError: one of the targets names no run.
    """
    import pandas as pd

    from airloom.tracking import experiments

    names = [target.id if isinstance(target, Run) else target for target in targets]
    differences = experiments.compare(load(), names).differences
    return pd.DataFrame.from_dict(differences, orient="index", columns=names)


def dataset(name: str) -> "Dataset":
    """A dataset of this installation.

    Raises:
        DataError: there is none of this name.
    """
    found = Dataset(name)
    found.versions  # noqa: B018 - to say at once that there is none
    return found


class Run:
    """One run of a pipeline, by the id of its MLflow run or by its key."""

    def __init__(self, target: str) -> None:
        self._target = target

    @cached_property
    def details(self) -> "PipelineRunDetails":
        """Everything that is known of it, as `airloom experiment show` prints it.

        Raises:
            RegistryError: there is no such run.
        """
        from airloom.tracking import experiments

        shown = experiments.show(load(), self._target)
        if not isinstance(shown, experiments.PipelineRunDetails):
            raise RegistryError(f"{self._target!r} names a pipeline, no run", "airloom.runs(…) lists its runs")
        return shown

    @property
    def id(self) -> str:
        """Of its MLflow run."""
        return self.details.run

    @property
    def key(self) -> str:
        """Goes on with this run: `airloom.run(pipeline, key=…)`."""
        return self.details.key

    @property
    def metrics(self) -> dict[str, float]:
        """Of the candidate, on the test split."""
        return self.details.metrics

    @property
    def gate(self) -> str:
        """passed, refused, overridden or not judged; empty before the gate."""
        return self.details.gate

    @property
    def parameters(self) -> dict[str, str]:
        """Of the final training; of several candidates ask `details.trainings`."""
        return dict(self.details.trainings[0].parameters) if self.details.trainings else {}

    def frame(self) -> "pd.DataFrame":
        """The curves of the final training: a row for each step, a column for each metric."""
        import pandas as pd

        if not self.details.trainings:
            return pd.DataFrame()
        training, api = self.details.trainings[0], _mlflow()
        columns = {
            name: pd.Series({point.step: point.value for point in api.get_metric_history(training.run, name)})
            for name in training.metrics
            if not name.startswith(COST)
        }
        return pd.DataFrame(columns).rename_axis("step").sort_index()

    def predictions(self) -> "pd.DataFrame":
        """The candidate's and the champion's answers to the test split, a row for each."""
        import pandas as pd

        return pd.read_parquet(self._artifact("evaluation/predictions.parquet"))

    @property
    def pictures(self) -> list[str]:
        """The names that `picture` takes."""
        api = _mlflow()
        files = [file.path for folder in ("evaluation", "study") for file in api.list_artifacts(self.id, folder)]
        return sorted(Path(file).stem for file in files if file.endswith(".png"))

    def picture(self, name: str) -> "Image":
        """A picture of the evaluation or the study, such as `confusion`; a notebook shows it.

        Raises:
            RegistryError: the run has no such picture.
        """
        from PIL import Image

        for folder in ("evaluation", "study"):
            files = {Path(file.path).stem: file.path for file in _mlflow().list_artifacts(self.id, folder)}
            if name in files:
                return Image.open(self._artifact(files[name]))
        raise RegistryError(f"run {self.id} has no picture {name!r}", f"it has {', '.join(self.pictures) or 'none'}")

    def _artifact(self, path: str) -> BytesIO:
        with tempfile.TemporaryDirectory(prefix="airloom-") as folder:
            return BytesIO(Path(_mlflow().download_artifacts(self.id, path, folder)).read_bytes())

    def __repr__(self) -> str:
        metrics = ", ".join(f"{name} {value:.4g}" for name, value in self.metrics.items())
        return f"<{self.key or self.id}: {self.details.dataset}, gate {self.gate or 'not asked yet'}; {metrics}>"


class Runs(list[Run]):
    """Runs of a pipeline; a notebook shows them as a table."""

    def __init__(self, shown: "list[PipelineRun]") -> None:
        super().__init__(Run(one.run) for one in shown)
        self._shown = shown

    def frame(self) -> "pd.DataFrame":
        """A row for each run."""
        import pandas as pd

        rows = [
            {"key": one.key, "dataset": one.dataset, "gate": one.gate, **one.metrics, "run": one.run}
            for one in self._shown
        ]
        return pd.DataFrame(rows)

    def _repr_html_(self) -> str:
        return str(self.frame().to_html(index=False))


@dataclass(frozen=True)
class Dataset:
    """The versions of a dataset."""

    name: str

    @property
    def versions(self) -> "list[Version]":
        """Oldest first, without those that were deleted."""
        from airloom.datasets.versions import list_versions

        return [Version(version) for version in list_versions(load(), self.name)]

    def version(self, which: int | str | None = None) -> "Version":
        """A version by its number or tag; the newest where nothing is said.

        Raises:
            DataError: there is no such version.
        """
        from airloom.datasets import versions

        name = (
            self.name
            if which is None
            else f"{self.name}@v{which}"
            if isinstance(which, int)
            else f"{self.name}@{which}"
        )
        return Version(versions.find(load(), name))


class Version:
    """One version of a dataset."""

    def __init__(self, record: "DatasetVersion") -> None:
        self.record = record

    @property
    def name(self) -> str:
        """Such as digits@v3."""
        return self.record.name

    @property
    def rows(self) -> int:
        """That are live."""
        return self.record.rows

    def table(self) -> "pa.Table":
        """All rows, in their order."""
        from airloom.datasets.read import read

        return read(load(), self.record)

    def split(self, part: str, split: dict[str, Any] | None = None) -> "pa.Table":
        """The rows of one part, as a pipeline reads them.

        Args:
            part: train, validation or test.
            split: what a pipeline file says in `dataset.split`; None: what a file has that says nothing.

        Raises:
            ConfigError: there is no such part.
        """
        from airloom.datasets.snapshots import snapshot
        from airloom.pipeline.steps.resolve import snapshot_of
        from airloom.spec.dataset import DatasetSection

        section = DatasetSection.model_validate({"name": self.record.dataset} | ({"split": split} if split else {}))
        settings = load()
        return snapshot.open_snapshot(settings, snapshot_of(settings, section, self.record)).table(part)

    def __repr__(self) -> str:
        return f"<{self.name}: {self.rows} rows, {self.record.message}>"


def _mlflow() -> Any:
    from airloom.tracking import runs as mlflow_runs

    return mlflow_runs.reader(load())
