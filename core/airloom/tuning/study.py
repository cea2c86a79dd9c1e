"""The study in Optuna's database."""

import logging
import sqlite3
from typing import TYPE_CHECKING, Any

from airloom.contracts import RunContext
from airloom.errors import JobFailed
from airloom.pipeline.spec import Distribution, Pipeline
from airloom.settings import Settings

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.storages import RDBStorage


def create(settings: Settings, pipeline: Pipeline, ctx: RunContext) -> str:
    """Create the study of this run, or find it.

    Returns:
        The study's name, which is the run's key.
    """
    import optuna
    from filelock import FileLock

    home = settings.make_home()
    # Two first pipelines at once would both create the tables.
    with FileLock(str(home / "optuna.lock"), timeout=60):
        with sqlite3.connect(home / "optuna.db") as database:
            database.execute("PRAGMA journal_mode=WAL")
        database.close()
        direction = pipeline.tune.objective.direction
        optuna.create_study(storage=_storage(settings), study_name=ctx.key, direction=direction, load_if_exists=True)
    return ctx.key


def open_study(settings: Settings, pipeline: Pipeline, ctx: RunContext, worker: int = 0, begun: int = 0) -> "Study":
    """The study with its sampler and pruner.

    Args:
        begun: trials that this worker began before; a restarted worker must not draw the same points again.

    Raises:
        JobFailed: `create` did not run for this key.
    """
    import optuna

    optuna.logging.set_verbosity(logging.WARNING)
    if not (settings.home / "optuna.db").exists():
        raise JobFailed(f"there is no study {ctx.key}", "create it first")
    seed = (pipeline.seed * 7919 + worker * 104_729 + begun) % 2**32
    try:
        return optuna.load_study(
            study_name=ctx.key, storage=_storage(settings), sampler=_sampler(pipeline, seed), pruner=_pruner(pipeline)
        )
    except KeyError:
        raise JobFailed(f"there is no study {ctx.key}", "create it first") from None


def suggest(trial: "Trial", space: dict[str, Distribution], fixed: dict[str, Any]) -> dict[str, Any]:
    """Values for the search space; a name in `fixed` is not searched."""
    return {name: _suggest(trial, name, d) for name, d in space.items() if name not in fixed}


def share(trials: int, workers: int, worker: int) -> tuple[int, int]:
    """The first trial slot of a worker and how many slots it has; all shares together are `trials`."""
    each, over = divmod(trials, workers)
    return worker * each + min(worker, over), each + (worker < over)


def _suggest(trial: "Trial", name: str, distribution: Distribution) -> Any:
    if distribution.choice is not None:
        return trial.suggest_categorical(name, distribution.choice)
    if distribution.int_ is not None:
        return trial.suggest_int(name, *distribution.int_, step=int(distribution.step or 1), log=distribution.log)
    assert distribution.float_ is not None  # noqa: S101 - the pipeline's schema holds exactly one kind
    return trial.suggest_float(name, *distribution.float_, step=distribution.step, log=distribution.log)


def _storage(settings: Settings) -> "RDBStorage":
    from optuna.storages import RDBStorage

    # Workers of one host write at the same time; SQLite's 5 s would be short on a loaded machine.
    return RDBStorage(f"sqlite:///{settings.home / 'optuna.db'}", engine_kwargs={"connect_args": {"timeout": 60}})


def _sampler(pipeline: Pipeline, seed: int) -> "BaseSampler":
    from optuna.samplers import RandomSampler, TPESampler

    return RandomSampler(seed) if pipeline.tune.sampler == "random" else TPESampler(seed=seed)


def _pruner(pipeline: Pipeline) -> "BasePruner":
    from optuna.pruners import HyperbandPruner, MedianPruner, NopPruner

    if pipeline.tune.pruner == "none":
        return NopPruner()
    if pipeline.tune.pruner == "hyperband":
        return HyperbandPruner(max_resource=int(pipeline.tune.epochs or pipeline.parameters.get("epochs", 100)))
    # Optuna's default of 5 unpruned trials would never prune a small study.
    return MedianPruner(n_startup_trials=min(5, max(1, pipeline.tune.trials // 3)), n_warmup_steps=1)
