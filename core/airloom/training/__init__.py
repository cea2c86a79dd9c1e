"""Training: what a user's function gets, the loop it may use, and the export of what it made.

`from airloom.training import fit, TrainingRun` works without importing torch until `fit` is asked for.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airloom.training.loop import fit as fit
    from airloom.training.run import TrainingRun as TrainingRun

__all__ = ["TrainingRun", "fit"]


def __getattr__(name: str) -> Any:
    if name == "fit":
        from airloom.training.loop import fit

        return fit
    if name == "TrainingRun":
        from airloom.training.run import TrainingRun

        return TrainingRun
    raise AttributeError(f"airloom.training has no {name}")
