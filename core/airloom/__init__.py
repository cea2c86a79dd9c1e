"""Airloom: a deep-learning system woven into Apache Airflow. This package knows no Airflow."""

from typing import TYPE_CHECKING, Any

from airloom.version import __version__

if TYPE_CHECKING:
    from airloom.interactive import (
        Run,
        add_labels,
        compare,
        dataset,
        labels,
        load_model,
        logged_predictions,
        metrics,
        predict,
        run,
        runs,
    )

__all__ = [
    "Run",
    "__version__",
    "add_labels",
    "compare",
    "dataset",
    "labels",
    "load_model",
    "logged_predictions",
    "metrics",
    "predict",
    "run",
    "runs",
]


def __getattr__(name: str) -> Any:
    """What `airloom.interactive` offers, when it is asked for: every command imports this package."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module("airloom.interactive"), name)
