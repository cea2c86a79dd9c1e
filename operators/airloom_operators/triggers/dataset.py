"""Watches the data repository and wakes the announcing DAG."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from airloom.errors import AirloomError
from airloom_operators.connections import Place

if TYPE_CHECKING:
    from airloom.settings import Settings

POLL_SECONDS = 0.5
FETCH_SECONDS = 5.0  # where each look fetches from a shared git remote


class DatasetVersionTrigger(BaseEventTrigger):
    """Polls for a version that is newer than what was announced.

    It only reads, never blocks the loop, and decides nothing: the announcing DAG looks for itself. So an event too many
    does no harm, and one too few is made up for by the next.

    Args:
        dataset: name of the dataset.
        connection_id: of type `airloom`; empty for none.
        project: a folder of the project, where nothing else names one.
    """

    def __init__(self, dataset: str, connection_id: str = "", project: str = "") -> None:
        super().__init__()  # type: ignore[no-untyped-call] # Airflow's own is untyped
        self.dataset = dataset
        self.place = Place(connection_id, project)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Where this class is, and its arguments."""
        return "airloom_operators.triggers.dataset.DatasetVersionTrigger", {
            "dataset": self.dataset,
            **self.place.arguments(),
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """One event for each step forward, and another after some time when nothing came of it."""
        from airloom.datasets import announcements

        settings, last = await self.place.settings(), None
        while True:
            try:
                newest, known = await asyncio.to_thread(self._look, settings)
            except AirloomError as error:
                self.log.warning("cannot look for versions of %s, trying again: %s", self.dataset, error)
                newest = known = 0
            wake = announcements.wake(newest, known, last, time.monotonic())
            if wake:
                last = wake
                yield TriggerEvent({"newest": newest, "announced": known})  # type: ignore[no-untyped-call] # as above
            await asyncio.sleep(FETCH_SECONDS if settings.data_remote else POLL_SECONDS)

    def _look(self, settings: "Settings") -> tuple[int, int]:
        from airloom.datasets import announcements, versions

        return versions.highest(settings, self.dataset), announcements.kept(settings, self.dataset)
