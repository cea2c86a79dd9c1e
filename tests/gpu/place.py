"""Where a check runs, and how large."""

from dataclasses import dataclass
from pathlib import Path


class Lacking(Exception):
    """Something is not here that this one check needs; the message says what, and how to get it."""


@dataclass(frozen=True)
class Place:
    """A device, and a folder for what a check writes.

    Attributes:
        kind: `cuda` or `cpu`.
        folder: an empty one.
        tiny: as small as shows that the check itself runs.
    """

    kind: str
    folder: Path
    tiny: bool = False

    @property
    def device(self) -> str:
        """For torch."""
        return "cuda:0" if self.kind == "cuda" else "cpu"

    def wait(self) -> None:
        """Until the device has done what it was asked."""
        import torch

        if self.kind == "cuda":
            torch.cuda.synchronize()
