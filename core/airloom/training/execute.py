"""Calls a training function: everything is seeded before, and what it raises is told with the user's own line."""

import logging
import os
from collections.abc import Callable
from typing import Any

from airloom.errors import AirloomError, JobFailed
from airloom.project.place import own_line
from airloom.training.checkpointing import random_state
from airloom.training.hints import hint_of
from airloom.training.reporting.sink import Diverged, Pruned
from airloom.training.run import TrainingRun

log = logging.getLogger(__name__)


def execute(function: Callable[[TrainingRun], Any], run: TrainingRun, reference: str) -> None:
    """Seed everything and call the user's function.

    Raises:
        JobFailed: the function raised; names type, message and the user's own line. The traceback is logged.
        AirloomError, Pruned: pass unchanged.
    """
    random_state.seed(run.seed, run.rank)
    if run.deterministic:
        deterministic()
    try:
        with run.progress.stop.listening():
            function(run)
    except Diverged as error:
        if not run.empty_cells:
            raise
        raise JobFailed(f"{error.message}; {run.empty_cells}", "fill them in, or leave such rows out") from None
    except (AirloomError, Pruned):
        raise
    except Exception as error:
        log.exception("%s failed", reference)
        file = getattr(getattr(function, "__code__", None), "co_filename", "")
        message = f"{reference} raised {type(error).__name__}: {error} ({own_line(error, file)})"
        raise JobFailed(message, hint_of(error, run.params)) from error


def deterministic() -> None:
    """Have torch use kernels that give the same result each time, where there are any."""
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is not deterministic without
    # Only warn: a user's layer may have no deterministic kernel, and that is no reason to refuse it.
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # finds bugs, costs time
