"""The tries of one writer: its push is refused where another's came first, and then it tries again on what is there."""

import random
import time
from dataclasses import dataclass

from airloom.datasets.storage import repository, rewritten
from airloom.errors import DataAway
from airloom.settings import Settings

LOSSES = 500  # each is another writer's success, so this many mean that something else is wrong
REFUSALS = 20  # while main stood still: nobody was first, and trying on does not help


@dataclass
class Race:
    """Counts refused pushes, and tells those that another writer won from those that nobody did."""

    settings: Settings
    what: str  # `digits was not changed`
    losses: int = 0
    refusals: int = 0

    def forgotten(self, before: str) -> bool:
        """Whether a forgetting replaced a commit of main: what it names may be gone, and who stands on it has lost."""
        repo = repository.refresh(self.settings)
        return rewritten.resolve(repo, before) != before

    def lost(self, before: str, refused: Exception) -> None:
        """Wait a moment before the next try.

        Args:
            before: the commit of main that the push stood on.
            refused: what git said, or what was gone.

        Raises:
            DataAway: there is no hope that the next try will succeed.
        """
        if repository.head(repository.refresh(self.settings)) != before:
            self.losses += 1
        else:
            self.refusals += 1
        if self.losses == LOSSES:
            raise DataAway(f"{self.what}: {LOSSES} other commits came first", "try again")
        if self.refusals == REFUSALS:
            message = f"{self.what}: git refuses the push {REFUSALS} times, and nobody else wrote: {refused}"
            raise DataAway(message, f"look at {self.settings.data_remote or self.settings.data_repo}")
        time.sleep(random.uniform(0, 0.1))  # noqa: S311 - spreads racing writers, keeps no secret
