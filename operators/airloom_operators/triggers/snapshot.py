"""Waits until a snapshot is no longer being prepared."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airloom_operators.connections import Place

FIRST_LOOK_SECONDS = 2.0  # Airflow 3.3 fails a task that is resumed before its parking was recorded
POLL_SECONDS = 1.0


class SnapshotTrigger(BaseTrigger):
    """Polls the state of a snapshot; what it came to is for the operator to read.

    Args:
        asked: the snapshot as `snapshot.ask` gave it, as a dict.
        connection_id: of type `airloom`; empty for none.
        project: a folder of the project, where nothing else names one.
    """

    def __init__(self, asked: dict[str, Any], connection_id: str = "", project: str = "") -> None:
        super().__init__()  # type: ignore[no-untyped-call] # Airflow's own is untyped
        self.asked = asked
        self.place = Place(connection_id, project)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Where this class is, and its arguments."""
        return "airloom_operators.triggers.snapshot.SnapshotTrigger", {
            "asked": self.asked,
            **self.place.arguments(),
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """One event with what was asked, as soon as the state is not RUNNING."""
        from airloom.datasets.snapshots import snapshot

        settings = await self.place.settings()
        await asyncio.sleep(FIRST_LOOK_SECONDS)
        while True:
            record = await asyncio.to_thread(snapshot.record, settings, self.asked["id"])
            if record is None or record["state"] != snapshot.RUNNING:
                yield TriggerEvent(self.asked)  # type: ignore[no-untyped-call] # as above
                return
            await asyncio.sleep(POLL_SECONDS)
