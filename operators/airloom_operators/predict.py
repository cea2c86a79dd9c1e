"""Batch prediction: a task of any DAG, and the last step of a pipeline."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airloom.names import JobKey, RunKey
from airloom.pipeline.steps import predict
from airloom_operators.base import map_index, who
from airloom_operators.job import JobOperator, WaitsForJob
from airloom_operators.links import MlflowRunLink
from airloom_operators.templates import EMPTY, flag, names

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airloom.jobs.spec import JobSpec
    from airloom.settings import Settings


class PredictOperator(JobOperator):
    """Have the new champion answer an entry of the pipeline file's `predict`; takes {registered: …, entry: 0}."""

    step_record = predict.STEP


class BatchPredictOperator(WaitsForJob):
    """Answer every row of a dataset version by a model version, as `airloom predict` does.

    In a DAG that runs for each version of a dataset, name it `incoming@{{ partition_key }}`. A retry goes on where the
    last try stood, and rows that were answered before are not answered again.

    Args:
        model: `digits/7`, `digits@champion`, or `digits` for the champion.
        dataset: `incoming@v3`, `incoming@golden`, or `incoming` for the newest.
        split: only rows of this split, as the model's training had it.
        out: a Parquet file, or a folder of them, from the project's root or absolute; it must not exist.
        commit: a dataset, to which the answers are added as a version.
        scores: have the probability of each class.
        columns: of the dataset, to stand beside the answers; a list, or text with commas between.
        author: who commits; by default the user who triggered the DAG run, else the service.
        devices: whole ones to lease, for ONNX Runtime with CUDA.
        threads: of the CPU.
        timeout: wall time of the job in seconds.
    """

    template_fields: Sequence[str] = ("model", "dataset", "split", "out", "commit", "scores", "columns", "author")
    operator_extra_links = (MlflowRunLink(),)
    mlflow_link = ""  # set at the end, read by the link

    def __init__(
        self,
        *,
        model: str,
        dataset: str,
        split: Any = "",
        out: str = "",
        commit: str = "",
        scores: Any = False,
        columns: Any = (),
        author: str | None = None,
        devices: int = 0,
        threads: int = 1,
        timeout: float = 30 * 86_400,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.dataset = dataset
        self.split = split
        self.out = out
        self.commit = commit
        self.scores = scores
        self.columns = columns
        self.author = author
        self.devices = devices
        self.threads = threads
        self.timeout = timeout

    def job_of(self, settings: "Settings", context: "Context") -> "tuple[str, JobSpec]":
        """See `WaitsForJob`; what is wrong with the names is told before a job is started."""
        from airloom.jobs.spec import Resources
        from airloom.prediction import delivery, job
        from airloom.prediction.folder import Folder
        from airloom.prediction.request import Asked, fix

        split = "" if str(self.split or "").strip().lower() in EMPTY else str(self.split)
        scores = flag("scores", self.scores, default=False)
        request = fix(settings, Asked(self.model, self.dataset, split, scores, names("columns", self.columns)))
        out = str((settings.project / self.out).resolve()) if self.out else ""
        author = (self.author or who(context, settings)) if self.commit else ""
        target = delivery.Target(out, self.commit, author)
        delivery.check(settings, request, Folder(settings, request.id), target)
        resources = Resources(devices=self.devices, threads=self.threads, time=self.timeout)
        spec = job.job_of(settings, request, target, resources)[1]
        run = str(RunKey(context["dag"].dag_id, context["run_id"], installation=settings.installation))
        return str(JobKey(run, context["ti"].task_id, map_index(context["ti"]))), spec

    def finished(self, context: "Context", value: dict[str, Any]) -> Any:  # noqa: ARG002 - see `WaitsForJob`
        """Return the `BatchPrediction`: rows, folder, what was written or committed."""
        with self.step() as settings:
            self.mlflow_link = f"{settings.mlflow_uri}/#/experiments/{value['experiment']}/runs/{value['run']}"
        place = value["out"] or value["committed"] or value["folder"]
        self.log.info("%s rows of %s, answered by %s: %s", value["rows"], value["dataset"], value["model"], place)
        return value
