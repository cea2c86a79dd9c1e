"""A batch prediction as a supervised job: what it does, and asking for it from a command, a notebook or a step."""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from airloom.contracts import Record
from airloom.jobs.spec import JobSpec, Resources
from airloom.jobs.submit import end, settle
from airloom.jobs.table import Attempts
from airloom.jobs.wait import run_job
from airloom.prediction import delivery
from airloom.prediction.delivery import Target
from airloom.prediction.folder import Folder
from airloom.prediction.request import Asked, Request, fix, with_rows
from airloom.settings import Settings, load

DAY = 86_400.0
LONGEST = 30 * DAY  # seconds of wall time, unless somebody says less
STEP = "airloom.prediction.job:work"
log = logging.getLogger(__name__)
LogLine = Callable[[str], None]


@dataclass(frozen=True)
class BatchPrediction(Record):
    """A batch prediction at its end.

    Attributes:
        id: of what was asked.
        model: `digits/7`.
        dataset: `digits@v3`.
        split: whose rows were answered; empty for all.
        rows: how many.
        folder: the Parquet files of its parts, in the state folder.
        run: its MLflow run.
        experiment: in which that is.
        out: the file or folder that was asked for.
        committed: the dataset version with the answers.
        found: nothing was to be done: it was there already.
    """

    id: str
    model: str
    dataset: str
    split: str
    rows: int
    folder: str
    run: str
    experiment: str = ""
    out: str = ""
    committed: str = ""
    found: bool = False


def predict(
    settings: Settings,
    asked: Asked,
    target: Target,
    log_line: LogLine,
    *,
    again: bool = False,
    resources: Resources | None = None,
) -> BatchPrediction:
    """Answer the rows of a dataset version by a model version, and wait for it.

    What was asked before with the same versions, rows and columns is taken as it is, or gone on with.

    Args:
        settings: of this installation.
        asked: what is to be answered.
        target: where the answers go besides the state folder.
        log_line: gets each line of the job's log.
        again: forget what was answered, and begin anew.
        resources: what the job may use.

    Raises:
        RegistryError: there is no such model version, or MLflow does not answer.
        DataError: there is no such dataset version.
        ConfigError: there is no such split or column, or the target is there already.
        JobFailed: the job failed; a `JobLost` goes on where it is asked for once more.
    """
    request = fix(settings, asked)
    delivery.check(settings, request, Folder(settings, request.id), target)
    if not again and (found := finished(settings, request, target)):
        return found
    generation = prepare(settings, request, target, again=again)
    key, spec = job_of(settings, request, target, resources)
    return BatchPrediction.from_dict(run_job(settings, key, spec, on_line=log_line, generation=generation))


def finished(settings: Settings, request: Request, target: Target) -> BatchPrediction | None:
    """The batch prediction where it is whole, and at its target; else None."""
    folder = Folder(settings, request.id)
    done = folder.done()
    where = delivery.there(settings, folder, target) if done else ""
    if done is None or (target.name and not where):
        return None
    told = BatchPrediction.from_dict(done)
    return replace(told, out=target.out and where, committed=target.commit and where, found=True)


def prepare(settings: Settings, request: Request, target: Target, *, again: bool) -> int:
    """The generation with which the job is submitted: a higher one where an attempt has ended well before.

    Args:
        settings: of this installation.
        request: what is to be answered.
        target: where the answers go.
        again: forget what was answered; an attempt that lives is ended.
    """
    settings.make_home()
    table = Attempts(settings.database_address)
    newest = settle(table, table.newest(request.job_key(settings, target.name)))
    if again:
        if newest and newest.alive:
            end(table, newest, "it is to be answered again")
        Folder(settings, request.id).remove()
    if newest is None:
        return 0
    return newest.generation + (again or not newest.alive)


def job_of(
    settings: Settings, request: Request, target: Target, resources: Resources | None = None
) -> tuple[str, JobSpec]:
    """The key of the job, and what it does.

    Args:
        settings: of this installation.
        request: what is to be answered.
        target: where the answers go.
        resources: what it may use.
    """
    arguments = {"request": request.to_dict(), "target": target.to_dict()}
    spec = JobSpec(
        step=STEP,
        arguments=arguments,
        resources=resources or Resources(time=LONGEST),
        writable=[target.out.rpartition("/")[0] or "/"] if target.out else [],
    )
    return request.job_key(settings, target.name), spec


def work(request: dict[str, Any], target: dict[str, Any]) -> dict[str, Any]:
    """Job entry: answer what is not answered yet, tell MLflow, bring it to the target.

    Returns a `BatchPrediction` as a dict.
    """
    threads = int(os.environ.get("OMP_NUM_THREADS", "1"))  # as the job's resources say
    return carry_out(load(), Request.from_dict(request), Target.from_dict(target), threads).to_dict()


def carry_out(settings: Settings, request: Request, target: Target, threads: int = 1) -> BatchPrediction:
    """The same in this process.

    Args:
        settings: of this installation.
        request: what is to be answered.
        target: where the answers go.
        threads: that share the work.
    """
    from airloom.prediction import record
    from airloom.prediction.answer import answer

    folder = Folder(settings, request.id)
    with folder.alone(lambda: log.info("another process answers these rows: waiting for it")):
        delivery.check(settings, request, folder, target)
        told = BatchPrediction.from_dict(done) if (done := folder.done()) else None
        if told is None:
            request = with_rows(settings, request)
            folder.keep("request.json", request.to_dict())
            with record.recorded(settings, request) as (experiment, run):
                answered = answer(settings, request, folder, threads)
                parts = folder.journal().values()
                record.finish(settings, run, answered, sum(part.seconds for part in parts), len(parts))
            told = BatchPrediction(
                id=request.id,
                model=request.shown(settings),
                dataset=request.dataset,
                split=request.split,
                rows=answered.rows,
                folder=str(folder.parts),
                run=run,
                experiment=experiment,
            )
            folder.keep("done.json", told.to_dict())
        where = delivery.deliver(settings, request, folder, target)
        if target.commit:
            record.committed(settings, told.run, where)
    return replace(told, out=target.out and where, committed=target.commit and where)
