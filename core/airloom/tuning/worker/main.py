"""Be a worker of a study. Killed at any point and started again, it goes on where the study stands."""

import signal
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from airloom.cache.manifest import files_of
from airloom.errors import JobFailed, MlflowAway, MlflowRefused, StoppedByRequest
from airloom.project.weights import in_project
from airloom.tuning import ownership, study
from airloom.tuning.slots import Slots
from airloom.tuning.trials import OptunaTrials
from airloom.tuning.worker.lane import Lane
from airloom.tuning.worker.recorder import Recorder
from airloom.tuning.worker.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airloom.contracts import RunContext
    from airloom.settings import Settings
    from airloom.spec.pipeline import Pipeline


def work(settings: "Settings", pipeline: "Pipeline", ctx: "RunContext", number: int) -> dict[str, Any]:
    """Run trials of the study until all its slots are finished, or its budget is used up.

    Args:
        settings: of this installation.
        pipeline: says what to search.
        ctx: of the pipeline run.
        number: of this worker, for people.

    Returns:
        `worker`, `trials` (finished by this attempt), `failed` (by own fault) and `over` (which budget is).

    Raises:
        JobFailed: the study has failed; the message says how many of its trials are finished.
        StoppedByRequest: the job was asked to end; its trials saved their checkpoints.
        ConfigError: the training function cannot be found, or the like: no trial would change it.
        MlflowAway: all is done, but MLflow has not taken it.
        MlflowRefused: MLflow answers, and does not take a trial.
    """
    slots = Slots(settings.database_address)
    if not slots.tally(ctx.key).trials:
        raise JobFailed(f"there is no study {ctx.key}", "start a new run; `resolve` creates it")
    study.forgive(settings, slots, ctx.key)
    worker = Worker(settings, pipeline, ctx, number, slots, Recorder(settings, ctx, slots))
    with _stoppable(worker):
        lanes = _run_lanes(worker)
        worker.recorder.close()
        ownership.reap(settings, slots, ctx.key, OptunaTrials(settings, pipeline, ctx))
        return _outcome(worker, lanes)


def _run_lanes(worker: Worker) -> list[Lane]:
    """Run all lanes of the worker, each in a thread, until they end."""
    lanes = [Lane(worker, number) for number in range(worker.pipeline.study.lanes)]
    try:
        # Once, and in one thread: Python 3.11 may fail when two parse at a time (gh-106905).
        worker.reads = [*files_of(worker.settings, worker.pipeline), *in_project(worker.ctx.weights)]
        with ThreadPoolExecutor(len(lanes), thread_name_prefix="airloom-lane") as pool:
            for ended in as_completed([pool.submit(_run_lane, worker, lane) for lane in lanes]):
                ended.result()
    except BaseException:
        with suppress(MlflowAway, MlflowRefused):  # what went wrong first matters more
            worker.recorder.close(5)
        raise
    return lanes


def _run_lane(worker: Worker, lane: Lane) -> None:
    try:
        lane.run()
    except BaseException:
        worker.ending.set()  # the other lanes save and end
        raise


def _outcome(worker: Worker, lanes: list[Lane]) -> dict[str, Any]:
    tally = worker.slots.tally(worker.ctx.key)
    if tally.failed:
        message = f"the study failed with {tally.finished} of {tally.trials} trials finished: {tally.failed}"
        raise JobFailed(message, "mend the cause; a retry, or clearing its workers, goes on where they stood")
    if worker.stopped and not tally.over:
        raise StoppedByRequest("stopped on request", "the next attempt goes on where the study stands")
    finished, failed = sum(lane.finished for lane in lanes), sum(lane.failed for lane in lanes)
    over = "" if tally.over else study.over(worker.pipeline.study, tally)
    return {"worker": worker.number, "trials": finished, "failed": failed, "over": over}


@contextmanager
def _stoppable(worker: Worker) -> "Iterator[None]":
    """Take SIGTERM as the wish to save and end, where this is the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: worker.stop())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
