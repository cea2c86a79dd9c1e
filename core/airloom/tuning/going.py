"""The trial that a lane has in work."""

import time
from dataclasses import dataclass
from typing import Any

from airloom.tuning.slots import Slot
from airloom.tuning.trials import Begun
from airloom.tuning.worker.recorder import Entry


@dataclass
class Going:
    """The trial in work.

    Attributes:
        slot: as reserved.
        begun: its row.
        entry: its way to MLflow.
        began: of time.monotonic.
        step: newest one reported, by earlier attempts too.
        looked: when it was last noted down.
        asked: when it was asked to stop, 0: it was not.
        memory: most bytes seen.
        cpu: seconds of the processor in this attempt; until it ends only since the first look.
        cpu_before: of its process at the first look.
        resumed: it was noted that a checkpoint let it go on.
    """

    slot: Slot
    begun: Begun
    entry: Entry
    began: float
    step: int
    looked: float
    asked: float = 0.0
    memory: int = 0
    cpu: float = 0.0
    cpu_before: float = -1.0
    resumed: bool = False

    @property
    def seconds(self) -> float:
        """Of this try, all attempts together."""
        return self.slot.seconds + time.monotonic() - self.began

    def used(self) -> dict[str, Any]:
        """What this try has used until now, as the slot has it."""
        return {
            "seconds": self.seconds,
            "cpu_seconds": self.slot.cpu_seconds + self.cpu,
            "peak_memory": max(self.slot.peak_memory, self.memory),
        }
