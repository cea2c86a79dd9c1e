"""Training: what a user's function gets, the loop it may use, and the export of what it made.

Importing this imports no torch until `fit` is asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airloom.inputs.declared import InputProcessing as InputProcessing
    from airloom.inputs.tokenise import Tokenise as Tokenise
    from airloom.pictures import Picture as Picture
    from airloom.processing import Processing as Processing
    from airloom.training.adapters import load_adapter as load_adapter
    from airloom.training.loop import fit as fit
    from airloom.training.normalise import Normalise as Normalise
    from airloom.training.prepared import Prepared as Prepared
    from airloom.training.run import TrainingRun as TrainingRun
    from airloom.training.source import TensorSource as TensorSource
    from airloom.training.stopping import EarlyStopping as EarlyStopping

_PLACES = {
    "EarlyStopping": "airloom.training.stopping",
    "InputProcessing": "airloom.inputs.declared",
    "Normalise": "airloom.training.normalise",
    "Picture": "airloom.pictures",
    "Prepared": "airloom.training.prepared",
    "Processing": "airloom.processing",
    "TensorSource": "airloom.training.source",
    "Tokenise": "airloom.inputs.tokenise",
    "TrainingRun": "airloom.training.run",
    "fit": "airloom.training.loop",
    "load_adapter": "airloom.training.adapters",
}
__all__ = [
    "EarlyStopping",
    "InputProcessing",
    "Normalise",
    "Picture",
    "Prepared",
    "Processing",
    "TensorSource",
    "Tokenise",
    "TrainingRun",
    "fit",
    "load_adapter",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"airloom.training has no {name}")
    return getattr(import_module(_PLACES[name]), name)
