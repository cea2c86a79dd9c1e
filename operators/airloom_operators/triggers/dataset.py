"""Watches the data repository; each new dataset version becomes an asset event."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

POLL_SECONDS = 1.0


class DatasetVersionTrigger(BaseEventTrigger):
    """Polls the tags of the data repository. It only reads git, apart from a cursor file, and never blocks the loop.

    The cursor stands under the state folder, so a restarted triggerer goes on where the last one stopped. It moves one
    poll after the event was handed over: a crash in between repeats an event, it never loses one.

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
        """One event a version, in order."""
        from airloom.datasets import announcements
        from airloom.settings import load

        settings = load()
        while True:
            for version in await asyncio.to_thread(announcements.pending, settings, self.dataset):
                yield TriggerEvent(version)  # type: ignore[no-untyped-call] # Airflow's own is untyped
                await asyncio.sleep(POLL_SECONDS)
                await asyncio.to_thread(announcements.done, settings, self.dataset, version["version"])
            await asyncio.sleep(POLL_SECONDS)
