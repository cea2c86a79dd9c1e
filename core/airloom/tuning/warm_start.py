"""Warm start: the first trials of a study try what was best in earlier ones."""

import logging
from typing import TYPE_CHECKING, Any

from airloom import database
from airloom.errors import ConfigError
from airloom.settings import Settings
from airloom.spec.pipeline import Pipeline
from airloom.tuning import foreign
from airloom.tuning.space import distribution

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

MOST = 5  # trials that begin with old parameters, and never more than a quarter of all
log = logging.getLogger(__name__)


def beginnings(settings: Settings, pipeline: Pipeline, study: "Study") -> list[dict[str, Any]]:
    """The best parameters of earlier studies, for the first trials of this one.

    They are tried anew, as the dataset may have changed. A dimension that the space no longer has, or a value outside
    its range, is left out and drawn.

    Raises:
        ConfigError: a named study does not exist, or has other objectives.
    """
    asked = pipeline.study.warm_start
    if not asked:
        return []
    earlier = _named(settings, pipeline, asked) if isinstance(asked, list) else _of_pipeline(settings, pipeline, study)
    chosen: list[dict[str, Any]] = []
    for trial in _best_first(earlier, study):
        fitting = fit(trial.params, pipeline)
        if fitting and fitting not in chosen:
            chosen.append(fitting)
        if len(chosen) == max(1, min(MOST, pipeline.study.trials // 4)):
            break
    log.info("warm start: %d trials begin with parameters of %d earlier studies", len(chosen), len(earlier))
    return chosen


def fit(parameters: dict[str, Any], pipeline: Pipeline) -> dict[str, Any]:
    """Those parameters that the space of the pipeline still allows; all of them where a function defines it."""
    tune = pipeline.study
    if tune.space_function:
        return dict(parameters)
    allowed = {}
    for name, value in parameters.items():
        space = distribution(tune.dimensions[name]) if name in tune.dimensions else None
        if space is not None and _contains(space, value):
            allowed[name] = value
    return allowed


def _contains(space: "BaseDistribution", value: Any) -> bool:
    try:
        return bool(space._contains(space.to_internal_repr(value)))
    except (ValueError, TypeError):
        return False


def _best_first(earlier: "list[Study]", study: "Study") -> "list[FrozenTrial]":
    """Complete trials, the best of each study before the second best of any: their values may not be comparable."""
    from optuna.study import StudyDirection
    from optuna.trial import TrialState

    ranked: list[tuple[int, FrozenTrial]] = []
    for past in earlier:
        if "airloom.pipeline" in past.user_attrs:  # else a person's own study, which `tune.warm_start` names
            past = foreign.without(past)
        trials = [t for t in past.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)) if t.values]
        if len(past.directions) > 1:
            best = past.best_trials if trials else []
        else:
            sign = -1 if study.directions[0] == StudyDirection.MAXIMIZE else 1
            best = sorted(trials, key=lambda t: sign * t.values[0])
        ranked += list(enumerate(best))
    return [trial for _, trial in sorted(ranked, key=lambda pair: pair[0])]


def _named(settings: Settings, pipeline: Pipeline, names: list[str]) -> "list[Study]":
    known = {study.study_name: study for study in _all(settings)}
    kept = [settings.kept(name) for name in names]
    for name in kept:
        if name not in known:
            names_known = ", ".join(sorted(known)[:10]) or "none"
            raise ConfigError(f"tune.warm_start: there is no study {name!r}", f"there are: {names_known}")
        if not _fits(known[name], pipeline):
            raise ConfigError(f"tune.warm_start: {name} has other objectives", "name studies of the same objectives")
    return [known[name] for name in kept]


def _of_pipeline(settings: Settings, pipeline: Pipeline, study: "Study") -> "list[Study]":
    """Earlier studies of this pipeline with the same objectives, the newest first."""
    same = [s for s in _all(settings) if s.user_attrs.get("airloom.pipeline") == pipeline.pipeline]
    return [s for s in reversed(same) if s.study_name != study.study_name and _fits(s, pipeline)]


def _fits(study: "Study", pipeline: Pipeline) -> bool:
    wanted = [(target.metric, target.direction) for target in pipeline.study.targets]
    directions = [direction.name.lower() for direction in study.directions]
    names = study.user_attrs.get("airloom.metrics", [target.metric for target in pipeline.study.targets])
    return list(zip(names, directions, strict=False)) == wanted and len(directions) == len(wanted)


def _all(settings: Settings) -> "list[Study]":
    import optuna

    from airloom.tuning.storage import new_storage

    storage = new_storage(settings)
    names = database.patiently(lambda: optuna.get_all_study_names(storage))
    return [optuna.load_study(study_name=name, storage=storage) for name in names]
