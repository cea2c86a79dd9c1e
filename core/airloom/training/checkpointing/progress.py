"""Where a training stands, and what happens between two of its steps: save, stop, meet the budget."""

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from airloom.errors import ConfigError, StoppedByRequest
from airloom.training.checkpointing import random_state
from airloom.training.checkpointing.checkpoints import Checkpoints, Pace
from airloom.training.checkpointing.frozen import Frozen
from airloom.training.checkpointing.state import KeptObjects
from airloom.training.checkpointing.stop import GOES_ON, Stop
from airloom.training.named import rows_of
from airloom.training.stopping import Budget
from airloom.training.world import World

if TYPE_CHECKING:
    from torch import Tensor

AGREE_EVERY = 0.5  # seconds between two moments at which several ranks agree on what to do
log = logging.getLogger(__name__)


@dataclass
class Position:
    """What a checkpoint says of the place in the training.

    Attributes:
        loop: number of the loop, as a function may have several, one after another.
        index: the epoch or step in it, the first that is not complete.
        batch: batches of the epoch that are done.
        steps: optimizer steps in all loops.
        seconds: wall time in the loops, all attempts together.
        samples: rows that all ranks trained on.
        finished: why the loop is to end after this epoch; empty: it is not.
    """

    loop: int = -1
    index: int = 0
    batch: int = 0
    steps: int = 0
    seconds: float = 0.0
    samples: int = 0
    finished: str = ""


@dataclass
class Progress:
    """The loops of a training: they begin where the newest checkpoint ends.

    Attributes:
        over: which budget was met; empty: none.
        resumed: the epoch or step at which a checkpoint let this attempt go on; -1: it began anew.
    """

    world: World = field(default_factory=World)
    device: str = "cpu"
    checkpoints: Checkpoints | None = None
    budget: Budget = field(default_factory=Budget)
    stop: Stop = field(default_factory=Stop)
    before_save: Callable[[], None] = lambda: None
    at: Position = field(default_factory=Position)
    over: str = ""
    resumed: int = -1

    def __post_init__(self) -> None:
        self._saved: dict[str, Any] | None = None  # of the loop that is resumed, while it is needed
        self._resume_loop = -1
        self._frozen = Frozen()
        self._loader: Any = None  # whose place belongs to the position
        self._streamed = True  # batches of this epoch are given, or given already
        self._loaded = False
        self._began = time.monotonic()
        self._limited = self.budget != Budget()
        self._stepped = self._every_batch = False  # an optimizer stepped since the last batch; there is none to watch

    def loop(self, count: int, unit: str, objects: dict[str, Any]) -> Iterator[int]:
        """Numbers from 0, or from where the checkpoint ends, to `count` - 1; see `TrainingRun.epochs`.

        Raises:
            StoppedByRequest: the job was asked to end; the checkpoint is saved.
            ConfigError: it stands inside another loop, an object cannot be kept, or the checkpoint is of other objects.
        """
        if self.stop.in_loop:
            raise ConfigError("a loop over run.epochs or run.steps stands inside another", "write one after the other")
        self._kept = KeptObjects(objects, self.world, self._frozen)
        if self.checkpoints is not None:
            self._frozen.note(self._kept.modules())
        self._begin()
        if self._resume_loop > self.at.loop:
            return  # an earlier attempt got beyond this loop
        self._resume()
        self.stop.in_loop = True
        hooks = [optimizer.register_step_post_hook(self._on_step) for optimizer in self._kept.optimizers()]
        self._every_batch = not hooks
        try:
            while self.at.index < count and not self.at.finished and not self.over:
                self._streamed = unit != "epoch"
                if self._saved is None and unit == "epoch":
                    self._at_start = random_state.capture(self.device)
                yield self.at.index
                if not self.over:
                    self._next(unit)
            if not self.over:  # else the checkpoint stands where the budget was met
                self._save()
        finally:
            self.at.seconds, self.stop.in_loop = self.seconds, False
            for hook in hooks:
                hook.remove()

    def batches(self, source: Iterable[Any]) -> Iterator[Any]:
        """The batches of this epoch that are still to do; see `TrainingRun.batches`."""
        if self._streamed or not self.stop.in_loop:
            yield from source
            return
        self._streamed = True
        iterator = self._seek(source)
        for batch in iterator:
            rows = rows_of(batch)
            yield batch
            del batch  # the loader may use its memory again
            self.at.batch += 1
            self.at.samples += rows * self.world.size
            # Where gradients are added up over several batches, a checkpoint between two of them would miss the sum.
            if self._stepped or self._every_batch:
                self._stepped = False
                self.at.steps += 1
                self._between()
                if self.over:
                    return

    def finish(self, reason: str) -> None:
        """End the loop after this epoch or step."""
        self.at.finished = reason

    @property
    def seconds(self) -> float:
        """Wall time in the loops, all attempts together."""
        return self.at.seconds + (time.monotonic() - self._began if self.stop.in_loop else 0.0)

    @property
    def ended(self) -> str:
        """Why the loop ended before its time; empty: it did not."""
        return self.over or self.at.finished

    def _begin(self) -> None:
        """A new loop; once, the newest checkpoint is read."""
        self.at = Position(self.at.loop + 1, steps=self.at.steps, seconds=self.at.seconds, samples=self.at.samples)
        self._countdown, self._began, self._at_start = 1, time.monotonic(), random_state.capture(self.device)
        self._pace, self._written = Pace(self._kept.size()), Position()
        if self._loaded or self.checkpoints is None:
            return
        self._loaded = True
        # One rank chooses, as a file may be damaged under the eyes of another.
        name = self.world.from_first(lambda: getattr(self.checkpoints.newest(), "name", None))  # type: ignore[union-attr]
        if name is not None:
            self._saved = self.checkpoints.load(self.checkpoints.folder / name)
            self._resume_loop = int(self._saved["position"]["loop"])

    def _resume(self) -> None:
        if self._saved is None:
            return
        self.at = Position(**self._saved["position"])
        self.resumed = self.at.index
        self._written = replace(self.at)
        if met := self.budget.met(self.at.steps, self.at.seconds, self.world.size):
            self.over = self.budget.reason(met)
        self._kept.restore(self._saved["objects"])
        self._at_start = self._generators("at_start")
        random_state.restore(self._at_start if self.at.batch else self._generators("generators"), self.device)
        log.info("going on at epoch or step %d, batch %d, from a checkpoint", self.at.index, self.at.batch)
        if not self.at.batch:
            self._saved = None

    def _seek(self, source: Iterable[Any]) -> Iterator[Any]:
        """An iterator that stands after the batches that are done already."""
        self._loader = source if hasattr(source, "set_epoch") and hasattr(source, "load_state_dict") else None
        parts: list[Any] = [source, getattr(source, "sampler", None)]
        for part in parts:
            if hasattr(part, "set_epoch"):
                part.set_epoch(self.at.index)
        if self._saved is None:
            return iter(source)
        if self._loader is not None:
            self._loader.load_state_dict(self._saved["loader"])
            iterator = iter(source)
        else:  # a stock DataLoader cannot seek: the same order again, without training on it
            iterator = iter(source)
            for _ in islice(iterator, self.at.batch):
                pass
        # Whatever the function did since the epoch began, such as to begin a sum: this is what the checkpoint holds.
        self._kept.restore(self._saved["objects"])
        random_state.restore(self._generators("generators"), self.device)
        self._saved = None
        return iterator

    def _on_step(self, *_: Any) -> None:
        self._stepped = True

    def _next(self, unit: str) -> None:
        """An epoch or step is complete."""
        self._saved = None
        self.at.index, self.at.batch, self._loader = self.at.index + 1, 0, None
        self.at.steps += unit == "step"
        self._between()

    def _between(self) -> None:
        self._countdown -= 1
        if self._countdown > 0:
            return
        stop, due, met = self._agree()
        if met:
            self.over = self.budget.reason(met)
            log.info("%s", self.over)
        if stop or due or met:
            self._save()
        if stop:
            self.world.wait()
            raise StoppedByRequest(f"stopped on request after {self.at.steps} steps", GOES_ON)

    def _agree(self) -> tuple[bool, bool, str]:
        """Stop? Save? Which budget is met? The first rank decides on time, any rank on stopping.

        Several ranks agree not after each step, but after a number of steps that they agreed on the last time.
        """
        rules = list(vars(self.budget))
        seconds = self.seconds
        met = self.budget.met(self.at.steps, seconds, self.world.size) if self._limited else ""
        if self.world.size == 1:
            self._countdown = 1
            return self.stop.requested, self._pace.due(), met
        steps = AGREE_EVERY * max(1, self.at.steps) / max(seconds, 1e-9)
        left = math.inf if self.budget.steps is None else self.budget.steps - self.at.steps
        mine = [float(rules.index(met) + 1 if met else 0), float(self._pace.due()), min(steps, left, 1000)]
        mine = mine if self.world.rank == 0 else [0.0, 0.0, 0.0]
        stop, rule, due, countdown = self.world.largest([float(self.stop.requested), *mine])
        self._countdown = max(1, int(countdown))
        return bool(stop), bool(due), rules[int(rule) - 1] if rule else ""

    def _save(self) -> None:
        """Write a checkpoint; all ranks call it, the first writes."""
        if self.checkpoints is None or replace(self.at, seconds=0) == replace(self._written, seconds=0):
            return
        began = time.monotonic()
        self.before_save()
        values = {
            "position": {**vars(self.at), "seconds": self.seconds},
            "objects": self._kept.state(),
            "loader": self._loader.state_dict() if self._loader is not None else None,
            "generators": self.world.gather(random_state.capture(self.device)),
            "at_start": self.world.gather(self._at_start),
        }
        if self.world.rank == 0:
            self.checkpoints.save(values)
        self._written = replace(self.at)
        self._pace.saved(time.monotonic() - began)

    def _generators(self, name: str) -> "Tensor":
        """This rank's generators; a rank that the checkpoint does not know gets new ones."""
        assert self._saved is not None  # noqa: S101 - called while resuming only
        states = self._saved[name]
        if self.world.rank < len(states):
            return states[self.world.rank]  # type: ignore[no-any-return]
        random_state.seed(self.at.steps, self.world.rank)
        return random_state.capture(self.device)
