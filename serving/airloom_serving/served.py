"""A model that answers requests: in threads of its own, and no more of them at once than the limits say."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, TypeVar

from airloom.inference.instances import Instances, TooMany
from airloom.inference.model import LoadedModel
from airloom_serving.limits import MOST_INSTANCES, MOST_VALUES, RUNS_A_MODEL, WAITING_A_MODEL

T = TypeVar("T")


class TookTooLong(Exception):
    """The graph was ended at its deadline."""

    status = 504


class Busy(Exception):
    """So many requests wait for this model that one more would only wait in vain."""

    status = 503


class Threads:
    """The few threads of one model. No graph runs on the event loop, and a slow one takes no other's threads."""

    def __init__(self, name: str) -> None:
        self._name, self._asked = name, 0
        self._pool = ThreadPoolExecutor(RUNS_A_MODEL, thread_name_prefix=f"model-{name[:40]}")

    async def run(self, work: Callable[[], T]) -> T:
        """Do the work when its turn comes.

        Raises:
            Busy: too many wait already.
        """
        if self._asked >= RUNS_A_MODEL + WAITING_A_MODEL:
            raise Busy(f"{self._asked} requests wait for {self._name}; ask again later")
        self._asked += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._asked -= 1


@dataclass
class ServedModel(LoadedModel):
    """What answers the requests for one registered model."""

    loaded_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    @cached_property
    def threads(self) -> Threads:
        """Where it answers."""
        return Threads(self.name)

    def parse(self, instances: Any) -> Instances:
        """Judge what came as a list of JSON.

        Raises:
            TooMany: a request may hold fewer.
            InstancesRefused: another shape, other types, or numbers that the model does not take.
        """
        if len(instances) > MOST_INSTANCES:
            raise TooMany(f"at most {MOST_INSTANCES} instances a request; these are {len(instances)}")
        values = self.signature.values
        if len(instances) * values > MOST_VALUES:
            raise TooMany(
                f"at most {max(1, MOST_VALUES // values)} instances a request, as each becomes {values} numbers; "
                f"these are {len(instances)}"
            )
        judged = super().parse(instances)
        if judged.rows * judged.width > MOST_VALUES:  # how long rows of any length are is known only now
            fits = max(1, MOST_VALUES // judged.width)
            raise TooMany(
                f"at most {fits} instances a request, as each is filled up to {judged.width} numbers; "
                f"these are {judged.rows}"
            )
        return judged
