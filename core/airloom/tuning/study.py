"""The study in Optuna's database, beside its slots in ours."""

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airloom import database
from airloom.contracts import RunContext
from airloom.errors import ConfigError, JobFailed
from airloom.jobs import context
from airloom.jobs.launch_record import read_launch
from airloom.jobs.states import FAILED
from airloom.jobs.table import Attempts
from airloom.settings import Settings
from airloom.spec.pipeline import Pipeline
from airloom.spec.tuning import TuneSection
from airloom.tuning import samplers
from airloom.tuning.slots import Slots, Tally
from airloom.tuning.storage import new_storage

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import BaseStorage

PIPELINE, DATASET, PARENT, METRICS, BEGINNINGS = (
    f"airloom.{name}" for name in ("pipeline", "dataset", "mlflow_run", "metrics", "beginnings")
)


@dataclass
class OpenStudy:
    """A study, open in one thread.

    Attributes:
        study: Optuna's.
        storage: the one below it.
        id: of the study in the storage.
    """

    study: "Study"
    storage: "BaseStorage"
    id: int


def create(settings: Settings, pipeline: Pipeline, ctx: RunContext) -> str:
    """Create the study of this run with its slots, or find it, and give it slots for all its trials.

    Returns:
        The study's name, which is the run's key.

    Raises:
        ConfigError: the sampler or pruner cannot be built, the study exists with other objectives or with more trials,
            or an earlier study to begin with does not exist.
    """
    from filelock import FileLock

    from airloom.tuning import warm_start

    samplers.check(pipeline)
    home, name = settings.make_home(), ctx.key
    # Two first pipelines at once would both create the tables.
    with FileLock(str(home / "optuna.lock"), timeout=60):
        study = database.patiently(lambda: _create(settings, pipeline, name))
        _same_objectives(study, pipeline)
        slots = Slots(settings.database_address)
        if PIPELINE not in study.user_attrs:  # written last, so a killed `create` is done again from its beginning
            study.set_user_attr(BEGINNINGS, warm_start.beginnings(settings, pipeline, study))
            _describe(study, pipeline, ctx)
        count = slots.make(name, pipeline.study.trials)
        slots.reopen(name)
    if count > pipeline.study.trials:
        message = f"the study {name} has {count} trials, tune.trials is {pipeline.study.trials}"
        hint = f"a study can grow, not shrink: set tune.trials to {count} or more, or start a new run"
        raise ConfigError(message, hint)
    return name


def open_study(settings: Settings, name: str, pipeline: Pipeline | None = None) -> OpenStudy:
    """Open a study of Optuna's database. Every draw sets its own sampler.

    Args:
        settings: of this installation.
        name: of the study.
        pipeline: for one that is worked on: it has the pruner.

    Raises:
        JobFailed: there is no such study.
    """
    import optuna

    optuna.logging.set_verbosity(logging.WARNING)
    address = settings.study_address
    if address.startswith("sqlite:") and not (settings.home / "optuna.db").exists():
        raise JobFailed(f"there is no study {name}", "`airloom study list` shows those that there are")
    storage = optuna.storages.get_storage(new_storage(settings))
    try:
        study = database.patiently(
            lambda: optuna.load_study(
                study_name=name, storage=storage, pruner=samplers.pruner(pipeline) if pipeline else None
            )
        )
    except KeyError:
        raise JobFailed(f"there is no study {name}", "`airloom study list` shows those that there are") from None
    return OpenStudy(study, storage, storage.get_study_id_from_name(name))


def _create(settings: Settings, pipeline: Pipeline, name: str) -> "Study":
    import optuna

    optuna.logging.set_verbosity(logging.WARNING)
    directions = [target.direction for target in pipeline.study.targets]
    return optuna.create_study(
        storage=new_storage(settings), study_name=name, directions=directions, load_if_exists=True
    )


def _same_objectives(study: "Study", pipeline: Pipeline) -> None:
    """Optuna takes a study that exists as it is, whatever directions it is asked for."""
    wanted: dict[str, str] = {target.metric: target.direction for target in pipeline.study.targets}
    names = study.user_attrs.get(METRICS, list(wanted))
    present = dict(zip(names, (direction.name.lower() for direction in study.directions), strict=False))
    if present != wanted or len(study.directions) != len(wanted):
        name = study.study_name
        message = f"the study {name} exists with the objectives {_text(present)}, the file has {_text(wanted)}"
        raise ConfigError(message, "start a new run: a study keeps its objectives")


def _text(objectives: dict[str, str]) -> str:
    return ", ".join(f"{direction} {metric}" for metric, direction in objectives.items())


def _describe(study: "Study", pipeline: Pipeline, ctx: RunContext) -> None:
    metrics = [target.metric for target in pipeline.study.targets]
    facts: dict[str, Any] = {METRICS: metrics, DATASET: ctx.snapshot.version_name, PARENT: ctx.mlflow_run}
    for name, value in {**facts, PIPELINE: pipeline.pipeline}.items():
        study.set_user_attr(name, value)


def over(tune: TuneSection, tally: Tally) -> str:
    """Which budget is used up, in words; empty for none."""
    budget = tune.budget
    if budget.time is not None and tally.seconds >= budget.time:
        return f"tune.budget.time: its {budget.time:g} s are over"
    if budget.device_seconds is not None and tally.device_seconds >= budget.device_seconds:
        return f"tune.budget.device_seconds: its {budget.device_seconds:g} s are over"
    return ""


def forgive(settings: Settings, slots: Slots, study: str) -> None:
    """Reopen a study that failed, where the attempt of this worker before this one FAILED with it.

    So a retry, or a clear, gives the study another chance: the failures that it survives are those since then, and a
    mended training function goes on. A worker that was only killed forgives nothing.
    """
    job = context.current()
    if job is None or job.rank:
        return
    table = Attempts(settings.database_address)
    attempt = table.get(read_launch(job.folder).id)
    if any(earlier.number == attempt.number - 1 and earlier.state == FAILED for earlier in table.of(attempt.key)):
        slots.reopen(study, before=attempt.submitted)
