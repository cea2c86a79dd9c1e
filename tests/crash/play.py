"""One training under the running scheduler, and everything that can be seen of it from outside."""

import hashlib
import time
from pathlib import Path
from typing import Any

import numpy as np

from airloom.contracts import RunContext
from airloom.jobs import files
from airloom.jobs.states import Attempt
from airloom.jobs.table import Attempts
from airloom.pipeline.steps.resolve import resolve
from airloom.settings import Settings
from airloom.spec.load import load_pipeline
from airloom.stack.airflow_api import AirflowApi
from airloom.tracking import runs
from airloom.tuning.slots import COMPLETE, Slots
from airloom.tuning.trials import OptunaTrials

LIMIT = 240.0  # seconds for anything; on a busy machine a start takes half a minute


class Play:
    """A run of one of the test's DAGs.

    Attributes:
        key: of its job.
        run: id of its DAG run.
        pid: of the task's process, as Airflow last said it.
    """

    def __init__(self, settings: Settings, api: AirflowApi, mode: str, ranks: int = 1, **parameters: Any) -> None:
        self.settings, self.api, self.dag = settings, api, f"crash_{mode}"
        self.table, self.pid = Attempts(settings.database_address), 0
        name = {1: "one", 2: "two"}[ranks]
        file = settings.project / "crash" / f"{name}.yaml"
        self._key = f"crash/{mode}-{name}-{time.time_ns()}"
        self.context = resolve(settings, file, self._key, 1, parameters)
        self._tuned(file, self.context)
        self.key = f"{self._key}/train"
        self.run = api.trigger(self.dag, {"context": self.context.to_dict()})

    def _tuned(self, file: Path, context: RunContext) -> None:
        """The study as a tuning of one trial leaves it: the crashes are for the training."""
        pipeline, slots = load_pipeline(file), Slots(self.settings.database_address)
        rows, slot = OptunaTrials(self.settings, pipeline, context), slots.reserve(context.key, "process:nobody:1:1", 0)
        assert slot is not None
        begun = rows.begin(slot, {})
        slots.hold(slot, trial=begun.trial.number, parameters={"unused": 1}, logged=1)
        rows.tell(begun.trial.number, COMPLETE, [1.0])
        slots.finish(slot, COMPLETE, value=1.0)

    # -- Airflow

    def task(self) -> dict[str, Any]:
        """The task instance: state, pid, try_number."""
        return self.api.task_or_none(self.dag, self.run, "train") or {}

    def task_pid(self) -> int:
        """Pid of the task's process while Airflow says that it runs, else 0."""
        task = self.task()
        found = int(task.get("pid") or 0) if task.get("state") == "running" else 0
        self.pid = found or self.pid
        return found

    def change(self, state: str) -> None:
        """Mark the task, as a person does."""
        path = f"/api/v2/dags/{self.dag}/dagRuns/{self.run}/taskInstances/train"
        self.api._request("PATCH", path, json={"new_state": state})

    def clear(self) -> None:
        self.api.clear(self.dag, self.run, "train")

    def end(self, limit: float = LIMIT) -> str:
        """Wait for the run's end; its state."""
        until = time.monotonic() + limit
        while time.monotonic() < until:
            state = self.api._request("GET", f"/api/v2/dags/{self.dag}/dagRuns/{self.run}")["state"]
            if state in ("success", "failed"):
                return str(state)
            time.sleep(0.5)
        return f"not ended after {limit:.0f} s, its task is {self.task().get('state')}"

    # -- the job

    def attempts(self) -> list[Attempt]:
        return self.table.of(self.key)

    def newest(self) -> Attempt | None:
        return self.table.newest(self.key)

    def steps_done(self) -> int:
        """Lines of the training's journal."""
        found = self._state_files("training-*/metrics.jsonl")
        return max((path.read_bytes().count(b"\n") for path in found), default=0)

    def saving(self) -> bool:
        """Whether a checkpoint is being written."""
        return any(_size(path) for path in self._state_files("training-*/checkpoints/.*.tmp"))

    def checkpoints(self) -> int:
        return len(list(self._state_files("training-*/checkpoints/[0-9]*.pt")))

    def result(self) -> bool:
        newest = self.newest()
        return bool(newest and (newest.path / files.RESULT).exists())

    def rank_pid(self, rank: int) -> int:
        """Pid of a rank, as it said itself; 0 before that."""
        newest = self.newest()
        found = files.read(newest.path / f"rank{rank}.json") if newest else None
        return int(found["pid"]) if found else 0

    def _state_files(self, pattern: str) -> list[Path]:
        return list(files.key_folder(self.settings.home, self.key).glob(f"state-*/{pattern}"))

    # -- MLflow

    def mlflow(self) -> dict[str, Any]:
        """Runs of this key, logged models, the recorded steps, and the digest of the model's weights."""
        api = runs.client(self.settings)
        experiment = self.context.experiment
        parents = api.search_runs([experiment], f"tags.`airloom.key` = '{self._key}'")
        children = api.search_runs([experiment], f"tags.mlflow.parentRunId = '{self.context.mlflow_run}'")
        steps = [point.step for c in children for point in api.get_metric_history(c.info.run_id, "loss")]
        models = [
            m for m in api.search_logged_models([experiment]) if m.source_run_id in {c.info.run_id for c in children}
        ]
        ready = [model for model in models if str(model.status).endswith("READY")]
        digest = _weights(ready[0].model_uri) if len(ready) == 1 else ""
        return {"runs": (len(parents), len(children)), "models": len(ready), "steps": sorted(steps), "weights": digest}


def _weights(uri: str) -> str:
    """SHA-256 of the weights in the ONNX file of the logged model, in the order of their names."""
    import mlflow
    import onnx

    folder = mlflow.artifacts.download_artifacts(artifact_uri=uri)
    model = onnx.load(Path(folder) / "extra_files" / "model.onnx")
    tensors = sorted(model.graph.initializer, key=lambda tensor: tensor.name)
    parts = [np.ascontiguousarray(onnx.numpy_helper.to_array(tensor)).tobytes() for tensor in tensors]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
