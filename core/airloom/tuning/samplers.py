"""Optuna's samplers and pruners by name, with their own options."""

import importlib
import importlib.util
import inspect
import warnings
from typing import TYPE_CHECKING, Any

from airloom.errors import ConfigError
from airloom.spec.pipeline import Pipeline
from airloom.spec.tuning import Distribution

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler

_SAMPLERS = {
    "tpe": "TPESampler",
    "random": "RandomSampler",
    "gp": "GPSampler",
    "qmc": "QMCSampler",
    "grid": "GridSampler",
    "brute_force": "BruteForceSampler",
    "nsgaii": "NSGAIISampler",
    "nsgaiii": "NSGAIIISampler",
    "cmaes": "CmaEsSampler",
}
_PRUNERS = {
    "median": "MedianPruner",
    "percentile": "PercentilePruner",
    "hyperband": "HyperbandPruner",
    "successive_halving": "SuccessiveHalvingPruner",
    "threshold": "ThresholdPruner",
    "patient": "PatientPruner",
    "wilcoxon": "WilcoxonPruner",
    "none": "NopPruner",
}
_NEEDS = {"CmaEsSampler": ("cmaes",), "GPSampler": ("torch", "scipy"), "QMCSampler": ("scipy",)}
_PLAIN = {"int", "float", "bool", "str", "None"}
_SINGLE = {"cmaes"}  # samplers for one objective


def check(pipeline: Pipeline) -> None:
    """Build sampler and pruner once, so that every option is checked before the first trial.

    Raises:
        ConfigError: an option is unknown or has a value that Optuna refuses, or the sampler does not go with the space.
    """
    tune = pipeline.study
    if tune.sampler.name in _SINGLE and len(tune.targets) > 1:
        raise ConfigError(f"tune.sampler: {tune.sampler.name} has one objective", "use nsgaii or tpe for several")
    sampler(pipeline)
    pruner(pipeline)
    if tune.sampler.name == "grid":
        points = _points(grid(tune.dimensions))
        if tune.trials > points:
            raise ConfigError(f"tune.trials is {tune.trials}, the grid has {points} points", f"set it to {points}")


def sampler(pipeline: Pipeline, fixed: dict[str, Any] | None = None, number: int = 0) -> "BaseSampler":
    """The sampler of the pipeline.

    Args:
        pipeline: names it.
        fixed: parameters of this run that are not searched.
        number: of the draw. Each has its own seed, so that no two processes draw the same points, and a trial that is
            drawn again after a crash is the same.
    """
    asked = pipeline.study.sampler
    # All points of a low-discrepancy sequence, and of a grid, need one seed.
    seed = pipeline.seed if asked.name in ("qmc", "grid") else (pipeline.seed * 7919 + number * 104_729) % 2**32
    given: dict[str, Any] = {"seed": seed}
    if asked.name == "grid":
        space = {n: d for n, d in pipeline.study.dimensions.items() if n not in (fixed or {}) and d.value is None}
        given["search_space"] = grid(space)
    if asked.name == "qmc":
        given["warn_asynchronous_seeding"] = False
    instance: BaseSampler = _make(
        "sampler", "optuna.samplers", _SAMPLERS[asked.name], {**given, **asked.options}, given
    )
    return instance


def pruner(pipeline: Pipeline) -> "BasePruner":
    """The pruner of the pipeline."""
    tune, asked = pipeline.study, pipeline.study.pruning
    given: dict[str, Any] = {}
    if asked.name == "median":  # Optuna's default of 5 unpruned trials would never prune a small study
        given = {"n_startup_trials": min(5, max(1, tune.trials // 3)), "n_warmup_steps": 1}
    if asked.name == "hyperband":
        given = {"max_resource": int(tune.epochs or pipeline.parameters.get("epochs", 100))}
    if asked.name == "patient":
        given = {"wrapped_pruner": None}
    instance: BasePruner = _make("pruner", "optuna.pruners", _PRUNERS[asked.name], {**given, **asked.options}, {})
    return instance


def grid(space: dict[str, Distribution]) -> dict[str, list[Any]]:
    """The values of each dimension.

    Raises:
        ConfigError: a dimension has no end of values, or exists only sometimes.
    """
    values: dict[str, list[Any]] = {}
    for name, d in space.items():
        if d.when:
            raise ConfigError(f"tune.sampler: a grid has no conditional dimension such as {name}", "use brute_force")
        if d.choice is not None or d.value is not None:
            values[name] = list(d.choice) if d.choice is not None else [d.value]
        elif d.int_ is not None and not d.log:
            values[name] = list(range(d.int_[0], d.int_[1] + 1, int(d.step or 1)))
        elif d.float_ is not None and d.step:
            count = int((d.float_[1] - d.float_[0]) / d.step + 1e-9) + 1
            values[name] = [d.float_[0] + number * d.step for number in range(count)]
        else:
            raise ConfigError(f"tune.sampler: a grid needs steps, {name} has none", "give it step, or use choice")
    return values


def _points(values: dict[str, list[Any]]) -> int:
    points = 1
    for part in values.values():
        points *= len(part)
    return points


def _make(key: str, module: str, name: str, options: dict[str, Any], own: dict[str, Any]) -> Any:
    kind = getattr(importlib.import_module(module), name)
    allowed = {n: types for n, types in _options(kind).items() if n not in own}
    text = ", ".join(allowed) or "none"
    for option, value in options.items():
        if option in own or option == "wrapped_pruner":
            continue
        if option not in allowed:
            raise ConfigError(f"tune.{key}.{option}: {name} has no such option", f"allowed: {text}")
        if type(value).__name__ not in allowed[option]:
            raise ConfigError(
                f"tune.{key}.{option}: {value!r} is no {' or '.join(allowed[option])}", f"allowed: {text}"
            )
    if missing := [package for package in _NEEDS.get(name, ()) if importlib.util.find_spec(package) is None]:
        raise ConfigError(f"tune.{key}: {name} needs the package {missing[0]}", "install it beside airloom")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a class is experimental
            return kind(**options)
    except (TypeError, ValueError, AttributeError) as error:
        given = ", ".join(f"{n}: {v!r}" for n, v in options.items() if n in allowed) or "to be made without options"
        raise ConfigError(f"tune.{key}: {name} refuses {given}: {error}", f"allowed: {text}") from None


def _options(kind: type) -> dict[str, list[str]]:
    """The options of a class that a file can give, with the names of their types."""
    options = {}
    for parameter in inspect.signature(kind.__init__).parameters.values():  # type: ignore[misc]
        hint = parameter.annotation
        types = (hint if isinstance(hint, str) else getattr(hint, "__name__", str(hint))).split(" | ")
        if parameter.name != "self" and set(types) <= _PLAIN:
            options[parameter.name] = [*types, "int"] if "float" in types else types
    return {name: [t for t in dict.fromkeys(types) if t != "None"] for name, types in options.items()}
