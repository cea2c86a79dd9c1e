"""The study in Optuna's database, beside its slots in ours."""

import logging
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airloom import database
from airloom.contracts import RunContext
from airloom.errors import ConfigError, JobFailed
from airloom.pipeline.spec import Pipeline
from airloom.settings import Settings
from airloom.tuning import samplers
from airloom.tuning.slots import Slots

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import BaseStorage, RDBStorage

PIPELINE, DATASET, PARENT, METRICS, BEGINNINGS = (
    f"airloom.{name}" for name in ("pipeline", "dataset", "mlflow_run", "metrics", "beginnings")
)


@dataclass
class Opened:
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

    from airloom.tuning import warm

    samplers.check(pipeline)
    home, name = settings.make_home(), ctx.key
    # Two first pipelines at once would both create the tables.
    with FileLock(str(home / "optuna.lock"), timeout=60):
        study = database.patiently(lambda: _create(settings, pipeline, name))
        _same_objectives(study, pipeline)
        slots = Slots(settings.database_address)
        if PIPELINE not in study.user_attrs:  # written last, so a killed `create` is done again from its beginning
            study.set_user_attr(BEGINNINGS, warm.beginnings(settings, pipeline, study))
            _describe(study, pipeline, ctx)
        there = slots.make(name, pipeline.tune.trials)
        slots.reopen(name)
    if there > pipeline.tune.trials:
        message = f"the study {name} has {there} trials, tune.trials is {pipeline.tune.trials}"
        raise ConfigError(
            message, f"a study can grow, not shrink: set tune.trials to {there} or more, or start a new run"
        )
    return name


def open_study(settings: Settings, name: str, pipeline: Pipeline | None = None) -> Opened:
    """The study; with a pipeline, to work on it: with its pruner. Every draw sets its own sampler.

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
    return Opened(study, storage, storage.get_study_id_from_name(name))


def new_storage(settings: Settings) -> "RDBStorage":
    """Optuna's storage: SQLite in WAL mode in `home`, or PostgreSQL."""
    from optuna.storages import RDBStorage

    address = settings.study_address
    if address.startswith("sqlite:") and not (settings.home / "optuna.db").exists():
        with sqlite3.connect(settings.home / "optuna.db") as made:  # the mode stays in the file
            made.execute("PRAGMA journal_mode=WAL")
        made.close()
    # Its tables were looked at when the study was created.
    storage = RDBStorage(address, engine_kwargs=database.options(address))
    database.prepare(storage.engine)
    storage.engine.dispose()  # connections from before `prepare`
    return storage


def _create(settings: Settings, pipeline: Pipeline, name: str) -> "Study":
    import optuna

    optuna.logging.set_verbosity(logging.WARNING)
    directions = [target.direction for target in pipeline.tune.targets]
    return optuna.create_study(
        storage=new_storage(settings), study_name=name, directions=directions, load_if_exists=True
    )


def _same_objectives(study: "Study", pipeline: Pipeline) -> None:
    """Optuna takes a study that exists as it is, whatever directions it is asked for."""
    wanted: dict[str, str] = {target.metric: target.direction for target in pipeline.tune.targets}
    names = study.user_attrs.get(METRICS, list(wanted))
    found = dict(zip(names, (direction.name.lower() for direction in study.directions), strict=False))
    if found != wanted or len(study.directions) != len(wanted):
        message = (
            f"the study {study.study_name} exists with the objectives {_text(found)}, the file has {_text(wanted)}"
        )
        raise ConfigError(message, "start a new run: a study keeps its objectives")


def _text(objectives: dict[str, str]) -> str:
    return ", ".join(f"{direction} {metric}" for metric, direction in objectives.items())


def _describe(study: "Study", pipeline: Pipeline, ctx: RunContext) -> None:
    metrics = [target.metric for target in pipeline.tune.targets]
    facts: dict[str, Any] = {METRICS: metrics, DATASET: ctx.snapshot.version_name, PARENT: ctx.mlflow_run}
    for name, value in {**facts, PIPELINE: pipeline.pipeline}.items():
        study.set_user_attr(name, value)
