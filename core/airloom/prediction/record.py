"""The MLflow run of a batch prediction, found again by its key: who asks MLflow or its UI sees what was answered."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from airloom.errors import MlflowAway, StoppedByRequest
from airloom.lineage.batches import BatchRecord
from airloom.prediction.request import Request
from airloom.project.person import caller
from airloom.settings import Settings
from airloom.tracking import inputs, runs
from airloom.tracking.tags import Tag

EXPERIMENT = "batch_predictions"
KIND = "batch prediction"


@contextmanager
def recorded(settings: Settings, request: Request) -> Iterator[tuple[str, str]]:
    """The ids of experiment and run, which runs inside the block; an error ends it as FAILED, a stop as KILLED.

    Raises:
        MlflowAway: MLflow does not answer.
    """
    api = runs.client(settings)
    tags = {
        Tag.KIND: KIND,
        Tag.BATCH: request.id,
        Tag.BATCH_MODEL: f"{request.model}/{request.version}",
        Tag.BATCH_DATASET: request.dataset,
        Tag.USER: caller(settings).name,
    }
    experiment, run = runs.ensure_parent(settings, EXPERIMENT, request.run_key(settings), tags)
    with runs.connection_errors(settings):
        asked = {"model": request.shown(settings), "dataset": request.dataset, "split": request.split or "all rows"}
        api.update_run(run, name=request.title(settings))
        known = api.get_run(run).data.params
        asked |= {"scores": str(request.scores), "columns": ", ".join(request.columns)[:500]}
        runs.log_parameters(api, run, {name: value for name, value in asked.items() if name not in known})
        inputs.log_input(api, settings, run, request.snapshot, request.part)
    try:
        with runs.connection_errors(settings):
            yield experiment, run
    except MlflowAway:
        raise
    except StoppedByRequest:
        api.set_terminated(run, "KILLED")
        raise
    except Exception:
        api.set_terminated(run, "FAILED")
        raise


def finish(settings: Settings, run: str, record: BatchRecord, seconds: float, files: int) -> None:
    """Say what was answered, and end the run.

    Args:
        settings: of this installation.
        run: id of the run.
        record: what was answered.
        seconds: that all attempts took for their parts.
        files: how many parts there are.

    Raises:
        MlflowAway: MLflow does not answer.
    """
    api = runs.client(settings)
    with runs.connection_errors(settings):
        api.set_tag(run, Tag.BATCH_RECORD, json.dumps(record.to_dict()))
        runs.log_metrics(api, run, {"rows": record.rows, "parts": files, "seconds": seconds}, 0)
        api.set_terminated(run, "FINISHED")


def committed(settings: Settings, run: str, version: str) -> None:
    """Say that a dataset version holds the answers."""
    api = runs.client(settings)
    with runs.connection_errors(settings):
        known = api.get_run(run).data.tags.get(Tag.BATCH_COMMITTED, "").split()
        if version not in known:
            api.set_tag(run, Tag.BATCH_COMMITTED, " ".join([*known, version]))
