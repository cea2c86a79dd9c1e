"""Stopping rules: what a training may use, all attempts together."""

from dataclasses import dataclass

from airloom.errors import ConfigError


@dataclass(frozen=True)
class Budget:
    """The training ends, well and with what it learned, when it has used one of these.

    Attributes:
        steps: optimizer steps.
        seconds: wall time in the training's loops.
        device_seconds: the same, times the number of processes, as each has a device of its own.
    """

    steps: int | None = None
    seconds: float | None = None
    device_seconds: float | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and not value > 0:
                raise ConfigError(f"budget: {name} is {value}", "give a number above 0, or leave it out")

    def met(self, steps: int, seconds: float, processes: int) -> str:
        """The name of the rule that is met, empty where none is."""
        used = {"steps": float(steps), "seconds": seconds, "device_seconds": seconds * processes}
        for name, limit in vars(self).items():
            if limit is not None and used[name] >= limit:
                return str(name)
        return ""

    def reason(self, name: str) -> str:
        """In words: `budget met: steps 1000`."""
        return f"budget met: {name} {getattr(self, name):g}"
