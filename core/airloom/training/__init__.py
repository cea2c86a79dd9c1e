"""Training: what a user's function gets, the loop it may use, and the export of what it made.

Importing this imports no torch until `fit` is asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airloom.training.early import EarlyStopping as EarlyStopping
    from airloom.training.loop import fit as fit
    from airloom.training.run import TrainingRun as TrainingRun
    from airloom.training.source import TensorSource as TensorSource

_PLACES = {"fit": "loop", "EarlyStopping": "early", "TrainingRun": "run", "TensorSource": "source"}
__all__ = ["EarlyStopping", "TensorSource", "TrainingRun", "fit"]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"airloom.training has no {name}")
    return getattr(import_module(f"airloom.training.{_PLACES[name]}"), name)
