"""Waits for a job while its task is deferred."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airloom_operators.connections import Place

if TYPE_CHECKING:
    from airloom.settings import Settings

POLL_SECONDS = 1.0
# Airflow fails a task whose event comes before its scheduler has noticed that the worker let go of it.
EARLIEST_SECONDS = 2.5


class JobTrigger(BaseTrigger):
    """Polls the table of attempts. It never touches the job, unless a person ends the task.

    Args:
        attempt: id of the attempt.
        key: of its job, for people who look at the trigger.
        shown: bytes of its log that the task has shown; -1 from a task of an earlier release, which did not count.
        connection_id: of type `airloom`; empty for none.
        project: a folder of the project, where nothing else names one.
    """

    _settings: "Settings | None" = None

    def __init__(self, attempt: int, key: str, shown: int = -1, connection_id: str = "", project: str = "") -> None:
        super().__init__()  # type: ignore[no-untyped-call] # Airflow's own is untyped
        self.attempt = attempt
        self.key = key
        self.shown = shown
        self.place = Place(connection_id, project)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Where this class is, and its arguments."""
        return "airloom_operators.triggers.job.JobTrigger", {
            "attempt": self.attempt,
            "key": self.key,
            "shown": self.shown,
            **self.place.arguments(),
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """One event, when the attempt has ended."""
        began, self._settings = time.monotonic(), await self.place.settings()
        while not await asyncio.to_thread(self._ended, self._settings.database_address):
            await asyncio.sleep(POLL_SECONDS)
        await asyncio.sleep(max(0.0, EARLIEST_SECONDS - (time.monotonic() - began)))
        yield TriggerEvent({"attempt": self.attempt, "shown": self.shown})  # type: ignore[no-untyped-call]

    async def on_kill(self) -> None:
        """A person marked or cleared the task: its job ends too."""
        settings = self._settings or await self.place.settings()
        await asyncio.to_thread(self._cancel, settings.database_address)

    def _ended(self, database: str) -> bool:
        from airloom.jobs.submit import settle
        from airloom.jobs.table import Attempts

        table = Attempts(database)
        attempt = settle(table, table.get(self.attempt))
        return attempt is None or not attempt.alive

    def _cancel(self, database: str) -> None:
        from airloom.jobs.table import Attempts

        Attempts(database).change(self.attempt, cancel="a person ended its deferred task")
