"""Run a pipeline, look at its runs, and compare them."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airloom.errors import RegistryError
from airloom.names import near
from airloom.settings import load

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from PIL.Image import Image

    from airloom.tracking.experiments import PipelineRun, PipelineRunDetails

COST = "cost."  # metrics of a training as a whole begin so
PREDICTIONS = "evaluation/predictions.parquet"


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
        """The curves of the final training: a row for each step, a column for each metric.

        Raises:
            RegistryError: the run came to no final training.
        """
        import pandas as pd

        if not self.details.trainings:
            raise self._has_not("a final training")
        training = self.details.trainings[0]
        with _mlflow() as api:
            columns = {
                name: pd.Series({point.step: point.value for point in api.get_metric_history(training.run, name)})
                for name in training.metrics
                if not name.startswith(COST)
            }
        return pd.DataFrame(columns).rename_axis("step").sort_index()

    def predictions(self) -> "pd.DataFrame":
        """The candidate's and the champion's answers to the test split, a row for each.

        Raises:
            RegistryError: the run came to no evaluation.
        """
        import pandas as pd

        if PREDICTIONS not in self._files():
            raise self._has_not("predictions")
        return pd.read_parquet(self._artifact(PREDICTIONS))

    @property
    def pictures(self) -> list[str]:
        """The names that `picture` takes."""
        return sorted(Path(file).stem for file in self._files() if file.endswith(".png"))

    def picture(self, name: str) -> "Image":
        """A picture of the evaluation or the study, such as `confusion`; a notebook shows it.

        Raises:
            RegistryError: the run has no such picture.
        """
        from PIL import Image

        files = {Path(file).stem: file for file in self._files() if file.endswith(".png")}
        if name in files:
            return Image.open(self._artifact(files[name]))
        there = f"it has {', '.join(sorted(files)) or 'none'}"
        raise self._has_not(f"the picture {name!r}", f"{near(name, files)}{there}")

    def _files(self) -> list[str]:
        """The paths of what evaluation and study kept."""
        with _mlflow() as api:
            return [file.path for folder in ("evaluation", "study") for file in api.list_artifacts(self.id, folder)]

    def _artifact(self, path: str) -> BytesIO:
        with tempfile.TemporaryDirectory(prefix="airloom-") as folder, _mlflow() as api:
            return BytesIO(Path(api.download_artifacts(self.id, path, folder)).read_bytes())

    def _has_not(self, what: str, hint: str = "") -> RegistryError:
        """The error for what a run has not, which says how the run ended."""
        ended = f"; it ended as {self.details.outcome!r}" if self.details.outcome else ""
        again = f"`airloom.run(…, key={self.key!r})` goes on with it" if self.key else "make a run with airloom.run(…)"
        return RegistryError(f"run {self.key or self.id} has not {what}{ended}", hint or again)

    def __repr__(self) -> str:
        metrics = ", ".join(f"{name} {value:.4g}" for name, value in self.metrics.items())
        outcome = f"{self.details.outcome}, " if self.details.outcome else ""
        dataset, gate = self.details.dataset, self.gate or "not asked"
        return f"<{self.key or self.id}: {dataset}, {outcome}gate {gate}; {metrics or 'no metrics'}>"


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


@contextmanager
def _mlflow() -> "Iterator[MlflowClient]":
    """A client of MLflow; where that does not answer, an error that says so."""
    from airloom.tracking import runs as mlflow_runs

    settings = load()
    client = mlflow_runs.reader(settings)
    with mlflow_runs.connection_errors(settings):
        yield client
