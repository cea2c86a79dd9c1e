"""The process that trains, one trial after another: `python -m airloom.tuning.worker.trial IN OUT PARENT`.

It exchanges `messages` with its worker over two pipes; see `trial_process`. It knows neither Optuna nor MLflow, and
whatever becomes of it costs its present trial only.
"""

import gc
import logging
import os
import resource
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING

from airloom.contracts import Record
from airloom.errors import AirloomError, ConfigError, JobFailed, NameRefused, StoppedByRequest
from airloom.jobs import logs, processes
from airloom.jobs.results import Failure
from airloom.settings import load
from airloom.tuning.worker import messages
from airloom.tuning.worker.messages import BrokenMessage, End, M, Ready, Reply, Report, RunTrial, Setup, Sync, TrialEnd

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch.nn import Module

    from airloom.training.export.example import Example
    from airloom.training.run import TrainingRun


def main(arguments: list[str]) -> int:
    """Prepare what all trials share, then run each that is asked for."""
    logs.configure()
    processes.die_with_parent()
    if os.getppid() != int(arguments[2]):  # it died before it could take this process along
        return 1
    _first_to_die()
    with os.fdopen(int(arguments[0]), "rb") as source, os.fdopen(int(arguments[1]), "wb", buffering=0) as target:
        pipe = Pipe(source, target)
        try:
            trainer = Trainer(pipe, pipe.receive(Setup))
        except Exception as error:
            pipe.send(_ended_by(error, End.UNUSABLE))
            return 1
        pipe.send(Ready())
        while True:
            try:
                trial = pipe.receive(RunTrial)
            except BrokenMessage as error:
                pipe.send(_ended_by(error, End.UNUSABLE))
                return 1
            pipe.send(trainer.run(trial))


def _first_to_die() -> None:
    """Where memory is short, the kernel is to end this process rather than the one that keeps the study."""
    try:
        Path("/proc/self/oom_score_adj").write_text("500")
    except OSError:  # not allowed here
        logging.getLogger(__name__).debug("oom_score_adj cannot be raised")


class Pipe:
    """Messages from and to the worker."""

    def __init__(self, source: IO[bytes], target: IO[bytes]) -> None:
        self._source, self._target = source, target

    def receive(self, kind: type[M]) -> M:
        """The next message; the process ends where there will be none.

        Raises:
            BrokenMessage: it is none of this kind.
        """
        line = self._source.readline()
        if not line:
            sys.exit(0)
        return messages.expect(messages.decode(line), kind)

    def send(self, message: Record) -> None:
        """Send a message."""
        self._target.write(messages.encode(message))


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
        from airloom.training.reporting.sink import Pruned

        self._pipe.send(Report(step, metrics, self.run.progress.resumed if self.run else -1))
        if not self._pipe.receive(Reply).go:
            raise Pruned

    def sync(self) -> None:
        """Have the worker force the reports to the disk: a checkpoint behind them follows."""
        self._pipe.send(Sync())
        self._pipe.receive(Reply)

    def picture(self, step: int, name: str, png: "Callable[[], bytes]") -> None:
        """A trial draws nothing: the training with the best parameters does."""

    def save(self, model: "Module | Path", example: "Example") -> None:
        """A trial's model is not kept: the best parameters are trained again at full length."""


class Trainer:
    """Runs trials.

    Args:
        pipe: to the worker.
        setup: what all trials share.

    Raises:
        ConfigError: the training function cannot be found, or the snapshot cannot be read.
    """

    def __init__(self, pipe: Pipe, setup: Setup) -> None:
        from airloom.project.functions import load_function
        from airloom.project.weights import Pretrained
        from airloom.training.execute import deterministic
        from airloom.training.source import SnapshotSplits

        if setup.cpus:
            os.sched_setaffinity(0, setup.cpus)
        self._pipe, self._setup, self._settings = pipe, setup, load()
        self._read: dict[str, str] = {}  # sha256 by path of files that no manifest names
        self._weights = Pretrained(self._settings.project, setup.weights)
        self._function = load_function(self._settings.project, setup.train) if setup.train else None
        self._source = SnapshotSplits(self._settings, setup.snapshot)
        deterministic()  # imports much of torch: before the first trial, so that its time is its own
        gc.freeze()  # what stays is not looked through after each trial

    def run(self, trial: RunTrial) -> TrialEnd:
        """Run one trial; returns how it ended."""
        from airloom.training.reporting.sink import Pruned
        from airloom.training.run import TrainingRun

        sink, folder = TrialSink(self._pipe), Path(trial.folder)
        used = _cpu_seconds()
        try:
            parts, weights = (trial.parameters, self._setup.seed, self._source, sink), self._weights
            sink.run = run = TrainingRun(*parts, state=folder, weights=weights)
            self._train(run, folder)
            ended = TrialEnd(End.COMPLETE, samples=run.progress.at.samples)
        except Pruned:
            ended = TrialEnd(End.PRUNED)
        except StoppedByRequest as error:
            ended = TrialEnd(End.STOPPED, error=error.message)
        except Exception as error:
            # A wrong argument may come of the parameters that were drawn; damaged data and refused names do not.
            own = isinstance(error, JobFailed | ConfigError) and not isinstance(error, NameRefused)
            ended = _ended_by(error, End.FAILED if own else End.UNUSABLE)
        sink.run = None
        _tidy()
        peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return ended.with_(cpu_seconds=_cpu_seconds() - used, peak_memory=peak)

    def _train(self, run: "TrainingRun", folder: Path) -> None:
        from airloom.project import watch
        from airloom.training.command import run_command
        from airloom.training.execute import execute

        if self._function:
            seen, project = len(self._read), self._settings.project
            try:
                with watch.reading(project, self._settings.home, self._setup.reads, self._read):
                    execute(self._function, run, self._setup.train)
            finally:
                if len(self._read) > seen:
                    watch.keep(folder.parent, self._read)
        else:
            run_command(self._setup.command, run, self._source, self._settings.project, folder)


def _ended_by(error: Exception, end: End) -> TrialEnd:
    """The end by an error; of one that we did not expect, the log gets the traceback."""
    if not isinstance(error, AirloomError):
        logging.getLogger(__name__).exception("the trial failed")
    failure = Failure.of(error)
    return TrialEnd(end, failure.error, failure.hint, failure.type)


def _tidy() -> None:
    """Give back what the trial held, also on the device, where another process may wait for room."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _cpu_seconds() -> float:
    parts = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in parts)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
