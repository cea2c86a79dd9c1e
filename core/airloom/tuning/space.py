"""From Optuna's trial to the parameters that a training function gets."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airloom.errors import AirloomError, ConfigError
from airloom.names import check_logged
from airloom.project.functions import load_function
from airloom.project.place import own_line
from airloom.spec.pipeline import Pipeline
from airloom.spec.tuning import Distribution

if TYPE_CHECKING:
    from optuna import Trial
    from optuna.distributions import BaseDistribution

Suggest = Callable[["Trial"], dict[str, Any]]


def suggest(trial: "Trial", space: dict[str, Distribution], fixed: dict[str, Any]) -> dict[str, Any]:
    """Values for the dimensions that exist; one in `fixed` is not searched.

    Args:
        trial: of Optuna.
        space: dimensions, parents first.
        fixed: parameters of this run, and those of the pipeline file.
    """
    values: dict[str, Any] = {}
    for name, dimension in space.items():
        if name not in fixed and dimension.holds({**values, **fixed}):
            values[name] = _suggest(trial, name, dimension)
    return values


def searched(values: dict[str, Any], pipeline: Pipeline, fixed: dict[str, Any]) -> dict[str, Any]:
    """All parameters of a trial: the file's, those searched, this run's own, and the epochs of a trial."""
    parameters = {**pipeline.parameters, **values, **fixed}
    if pipeline.study.epochs and "epochs" not in values:
        parameters["epochs"] = pipeline.study.epochs
    return parameters


def suggester(pipeline: Pipeline, project: Path, fixed: dict[str, Any]) -> Suggest:
    """What draws the values of a trial: the file's dimensions, or the user's function.

    Raises:
        ConfigError: there is no such function; or, later, what it returns is no mapping of plain values.
    """
    tune = pipeline.study
    if not tune.space_function:
        known = {**pipeline.parameters, **fixed}
        return lambda trial: suggest(trial, tune.dimensions, known)
    function, name = load_function(project, tune.space_function), f"tune.space_function: {tune.space_function}"

    def call(trial: "Trial") -> dict[str, Any]:
        try:
            values = function(trial)
        except AirloomError:
            raise
        except Exception as error:
            message = f"{name} raised {type(error).__name__}: {error} ({own_line(error)})"
            raise ConfigError(message, "mend the function") from error
        plain = isinstance(values, dict) and all(isinstance(v, bool | int | float | str) for v in values.values())
        if not plain or not values:
            raise ConfigError(
                f"{name} returned {str(values)[:200]!r}", "return a dict: names to numbers, texts or truths"
            )
        return {check_logged("parameter", str(n)): v for n, v in values.items()}

    return call


def distribution(dimension: Distribution) -> "BaseDistribution | None":
    """As Optuna has it; None for a fixed value."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if dimension.choice is not None:
        return CategoricalDistribution(dimension.choice)
    if dimension.int_ is not None:
        return IntDistribution(*dimension.int_, step=int(dimension.step or 1), log=dimension.log)
    if dimension.float_ is not None:
        return FloatDistribution(*dimension.float_, step=dimension.step, log=dimension.log)
    return None


def _suggest(trial: "Trial", name: str, d: Distribution) -> Any:
    if d.choice is not None:
        return trial.suggest_categorical(name, d.choice)
    if d.int_ is not None:
        return trial.suggest_int(name, *d.int_, step=int(d.step or 1), log=d.log)
    if d.float_ is not None:
        return trial.suggest_float(name, *d.float_, step=d.step, log=d.log)
    return d.value
