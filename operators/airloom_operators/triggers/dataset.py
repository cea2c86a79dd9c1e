"""Watches the data repository and wakes the announcing DAG."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.sdk.exceptions import AirflowException
from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from airloom.errors import AirloomError

POLL_SECONDS = 0.5
FETCH_SECONDS = 5.0  # where each look fetches from a shared git remote
ANNOUNCED = "announced"  # key of the repository asset's state, a version number


class DatasetVersionTrigger(BaseEventTrigger):
    """Polls for a version that is newer than what was announced.

    It only reads, never blocks the loop, and decides nothing: the announcing DAG looks for itself. So an event too many
    does no harm, and one too few is made up for by the next.

    Args:
        dataset: name of the dataset.
    """

    def __init__(self, dataset: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # Airflow's own is untyped
        self.dataset = dataset

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Where this class is, and its arguments."""
        return "airloom_operators.triggers.dataset.DatasetVersionTrigger", {"dataset": self.dataset}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """One event for each step forward, and another after some time when nothing came of it."""
        from airloom.datasets.announcements import Wake, wakes
        from airloom.datasets.versions import highest
        from airloom.settings import load

        settings, known, last = load(), 0, None
        while True:
            found = 0
            try:
                found = await asyncio.to_thread(highest, settings, self.dataset)
                known = max(known, await self._announced()) if found > known else known
            except (AirloomError, AirflowException) as error:
                self.log.warning("cannot look for versions of %s, trying again: %s", self.dataset, error)
                found = 0
            if wakes(found, known, last, time.monotonic()):
                last = Wake(known, time.monotonic())
                yield TriggerEvent({"newest": found, "announced": known})  # type: ignore[no-untyped-call] # as above
            await asyncio.sleep(FETCH_SECONDS if settings.data_remote else POLL_SECONDS)

    async def _announced(self) -> int:
        if self.asset_state_store is None:  # outside a triggerer
            return 0
        return int(str(await self.asset_state_store.aget(ANNOUNCED, 0)))
