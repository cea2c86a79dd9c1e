"""The process that trains, one trial after another: `python -m airloom.tuning.worker.trial IN OUT PARENT`.

It is told what to do, and tells what happens, in JSON lines over two pipes; see `trial_process`. It knows
neither Optuna nor MLflow, and whatever becomes of it costs its present trial only.
"""

import gc
import json
import logging
import os
import resource
import sys
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from airloom.contracts import Snapshot
from airloom.errors import ConfigError, JobFailed, StoppedByRequest
from airloom.jobs import processes
from airloom.jobs.context import explain
from airloom.settings import load

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

    from airloom.training.run import TrainingRun


def main(arguments: list[str]) -> int:
    """Prepare what all trials share, then run each that is asked for."""
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    processes.die_with_parent()
    if os.getppid() != int(arguments[2]):  # it died before it could take this process along
        return 1
    _first_to_die()
    with os.fdopen(int(arguments[0]), "rb") as asked, os.fdopen(int(arguments[1]), "wb", buffering=0) as told:
        pipe = Pipe(asked, told)
        try:
            trainer = Trainer(pipe, pipe.ask())
        except Exception as error:
            pipe.tell({"end": "unusable", **_explained(error)})
            return 1
        pipe.tell({"ready": os.getpid()})
        while True:
            pipe.tell(trainer.run(pipe.ask()))


def _first_to_die() -> None:
    """Where memory is short, the kernel is to end this process rather than the one that keeps the study."""
    try:
        Path("/proc/self/oom_score_adj").write_text("500")
    except OSError:  # not allowed here
        logging.getLogger(__name__).debug("oom_score_adj cannot be raised")


class Pipe:
    """Messages from and to the worker."""

    def __init__(self, asked: IO[bytes], told: IO[bytes]) -> None:
        self._asked, self._told = asked, told

    def ask(self) -> dict[str, Any]:
        """The next message; the process ends where there will be none."""
        line = self._asked.readline()
        if not line:
            sys.exit(0)
        return dict(json.loads(line))

    def tell(self, message: dict[str, Any]) -> None:
        """Send a message."""
        self._told.write(json.dumps(message).encode() + b"\n")


class TrialSink:
    """Where a trial's training function reports to: the worker, which answers whether to go on."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self.run: TrainingRun | None = None

    def report(self, step: int, metrics: dict[str, float]) -> None:
        """Pass a report on.

        Raises:
            Pruned: the study stops the trial.
        """
        from airloom.training.run import Pruned

        resumed = self.run.progress.resumed if self.run else -1
        self._pipe.tell({"report": step, "metrics": metrics, "resumed": resumed})
        if not self._pipe.ask()["go"]:
            raise Pruned

    def sync(self) -> None:
        """Have the worker force the reports to the disk: a checkpoint behind them follows."""
        self._pipe.tell({"sync": True})
        self._pipe.ask()

    def save(self, model: "Module | Path", example: "Tensor") -> None:
        """A trial's model is not kept: the best parameters are trained again at full length."""


class Trainer:
    """Runs trials.

    Args:
        pipe: to the worker.
        setup: `train` or `command`, `snapshot`, `seed`, `cpus` to run on, `reads`: files known to be read.
    """

    def __init__(self, pipe: Pipe, setup: dict[str, Any]) -> None:
        from airloom.project.functions import load_function
        from airloom.training.run import deterministic
        from airloom.training.source import SnapshotSource

        if setup["cpus"]:
            os.sched_setaffinity(0, setup["cpus"])
        self._pipe, self._setup, self._settings = pipe, setup, load()
        self._read: dict[str, str] = {}  # sha256 by path of files that no manifest names
        self._function = load_function(self._settings.project, setup["train"]) if setup["train"] else None
        self._source = SnapshotSource(self._settings, Snapshot.from_dict(setup["snapshot"]))
        deterministic()  # imports much of torch: before the first trial, so that its time is its own
        gc.freeze()  # what stays is not looked through after each trial

    def run(self, trial: dict[str, Any]) -> dict[str, Any]:
        """Run one trial; how it ended, as a message.

        Args:
            trial: `parameters`, and `folder`, which survives its attempts.
        """
        from airloom.training.run import Pruned, TrainingRun

        sink, folder = TrialSink(self._pipe), Path(trial["folder"])
        began, used = time.monotonic(), _cpu_seconds()
        try:
            sink.run = run = TrainingRun(trial["parameters"], self._setup["seed"], self._source, sink, state=folder)
            self._train(run, folder)
            end: dict[str, Any] = {"end": "complete", "samples": run.progress.at.samples}
        except Pruned:
            end = {"end": "pruned"}
        except StoppedByRequest as error:
            end = {"end": "stopped", "error": error.message}
        except Exception as error:
            # A wrong argument may come of the parameters that were drawn; damaged data do not.
            own = isinstance(error, JobFailed | ConfigError)
            end = {"end": "failed" if own else "unusable", **_explained(error)}
        sink.run = None
        _tidy()
        return {**end, **_usage(), "seconds": time.monotonic() - began, "cpu_seconds": _cpu_seconds() - used}

    def _train(self, run: "TrainingRun", folder: Path) -> None:
        from airloom.project import watch
        from airloom.training.command import run_command
        from airloom.training.run import execute

        if self._function:
            seen, project = len(self._read), self._settings.project
            try:
                with watch.reading(project, self._settings.home, self._setup["reads"], self._read):
                    execute(self._function, run, self._setup["train"])
            finally:
                if len(self._read) > seen:
                    watch.keep(folder.parent, self._read)
        else:
            run_command(self._setup["command"], run, self._source, self._settings.project, folder)


def _explained(error: Exception) -> dict[str, Any]:
    if not hasattr(error, "hint"):
        logging.getLogger(__name__).exception("the trial failed")
    return explain(error)


def _tidy() -> None:
    """Give back what the trial held, also on the device, where another process may wait for room."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _cpu_seconds() -> float:
    parts = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in parts)


def _usage() -> dict[str, int]:
    import torch

    found = {"peak_memory": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}
    if torch.cuda.is_available():
        found["device_memory"] = torch.cuda.max_memory_allocated()
        torch.cuda.reset_peak_memory_stats()
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
