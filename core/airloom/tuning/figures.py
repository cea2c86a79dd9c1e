"""The study's figures as pictures on the parent run, which open in the MLflow UI."""

import logging
import warnings
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from airloom.contracts import RunContext
from airloom.pipeline.spec import Pipeline
from airloom.settings import Settings
from airloom.tuning.study import open_study

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from optuna import Study

FOLDER = "study"
log = logging.getLogger(__name__)


def record(settings: Settings, pipeline: Pipeline, ctx: RunContext, api: "MlflowClient") -> list[str]:
    """Draw and log them: `study/history.png`, …; returns which. One that cannot be drawn does not end the study."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    study = open_study(settings, ctx.key).study
    names = [target.metric for target in pipeline.tune.targets]
    made = []
    for name, draw in _figures(study, names).items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that the interface is experimental, or a layout tight
                axes = draw()
                figure = _figure_of(axes)
                figure.set_size_inches(9, 6)
                api.log_figure(ctx.mlflow_run, figure, f"{FOLDER}/{name}.png")
            made.append(name)
        except (ValueError, RuntimeError, ImportError) as error:  # too few trials, or no parameter at all
            log.warning("the figure %s cannot be drawn: %s", name, error)
        finally:
            pyplot.close("all")
    return made


def _figures(study: "Study", names: list[str]) -> dict[str, Callable[[], Any]]:
    from optuna.visualization import matplotlib as draw

    found: dict[str, Callable[[], Any]] = {"timeline": lambda: draw.plot_timeline(study)}
    if len(names) in (2, 3):
        found["pareto_front"] = lambda: draw.plot_pareto_front(study, target_names=names)
    for index, metric in enumerate(names):
        # A target makes it one objective; without one Optuna takes the study's own.
        options: dict[str, Any] = {"target_name": metric}
        if len(names) > 1:
            options["target"] = lambda trial, index=index: trial.values[index]
        end = f"_{metric}" if len(names) > 1 else ""
        found |= {
            f"history{end}": partial(draw.plot_optimization_history, study, **options),
            f"parallel_coordinates{end}": partial(draw.plot_parallel_coordinate, study, **options),
            f"slice{end}": partial(draw.plot_slice, study, **options),
            f"importances{end}": partial(draw.plot_param_importances, study, **options),
        }
    return found


def _figure_of(axes: Any) -> Any:
    """Of one pair of axes, or of several."""
    while not hasattr(axes, "get_figure"):
        axes = axes[0]
    return axes.get_figure()
