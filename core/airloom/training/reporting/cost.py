"""What a training used: a small file for each process of each attempt, so that killed attempts count too."""

import json
import logging
import resource
import time
from pathlib import Path
from typing import Any

from airloom.errors import CorruptFile
from airloom.files import read_json

log = logging.getLogger(__name__)


class Cost:
    """The use of this process.

    Args:
        folder: of the training; it survives attempts.
        rank: of this process.
    """

    def __init__(self, folder: Path, rank: int) -> None:
        self._path = folder / "cost" / f"{time.time_ns()}-{rank}.json"
        self._began = time.monotonic()

    def note(self) -> None:
        """Write down what was used until now. Seconds of the processor include those of ended children."""
        own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        values = {
            "seconds": time.monotonic() - self._began,
            "cpu_seconds": sum(part.ru_utime + part.ru_stime for part in (own, children)),
            "peak_memory": 1024 * max(own.ru_maxrss, children.ru_maxrss),
            "device_memory": _device_memory(),
        }
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_suffix(".tmp")  # at once, but not forced to the disk: it is written often
        temporary.write_text(json.dumps(values))
        temporary.replace(self._path)


def total(folder: Path, samples: int, loop_seconds: float) -> dict[str, float]:
    """The cost of all attempts, as metrics for MLflow.

    Args:
        folder: of the training.
        samples: rows that were trained on.
        loop_seconds: wall time in the training's loops.

    Returns:
        `cost.device_seconds` and `cost.cpu_seconds` (sums over processes), `cost.peak_memory_bytes` (of one process),
        `cost.peak_device_memory_bytes` where there is a CUDA device, `cost.samples_per_second` (evaluation included).
    """
    uses = [use for path in sorted((folder / "cost").glob("[0-9]*.json")) if (use := _read(path))]
    metrics = {
        "cost.device_seconds": sum(use["seconds"] for use in uses),
        "cost.cpu_seconds": sum(use["cpu_seconds"] for use in uses),
        "cost.peak_memory_bytes": max((use["peak_memory"] for use in uses), default=0),
        "cost.peak_device_memory_bytes": max((use["device_memory"] for use in uses), default=0),
        "cost.samples_per_second": samples / loop_seconds if loop_seconds else 0.0,
    }
    return {name: float(value) for name, value in metrics.items() if value}


def _read(path: Path) -> dict[str, Any] | None:
    """The file of one process; one that a power cut emptied costs its share of the sums, and no training."""
    try:
        return read_json(path, "the cost of one attempt is lost")
    except CorruptFile as error:
        log.warning("%s: %s", error.message, error.hint)
        return None


def _device_memory() -> int:
    import torch

    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
