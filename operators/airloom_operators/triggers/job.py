"""Waits for a job while its task is deferred."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

POLL_SECONDS = 1.0
# Airflow fails a task whose event comes before its scheduler has noticed that the worker let go of it.
EARLIEST_SECONDS = 2.5


class JobTrigger(BaseTrigger):
    """Polls the table of attempts. It never touches the job, unless a person ends the task.

    Args:
        attempt: id of the attempt.
        key: of its job, for people who look at the trigger.
        shown: bytes of its log that the task has shown; -1 from a task of an earlier release, which did not count.
    """

    def __init__(self, attempt: int, key: str, shown: int = -1) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # Airflow's own is untyped
        self.attempt = attempt
        self.key = key
        self.shown = shown

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Where this class is, and its arguments."""
        return "airloom_operators.triggers.job.JobTrigger", {
            "attempt": self.attempt,
            "key": self.key,
            "shown": self.shown,
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """One event, when the attempt has ended."""
        began = time.monotonic()
        while not await asyncio.to_thread(self._ended):
            await asyncio.sleep(POLL_SECONDS)
        await asyncio.sleep(max(0.0, EARLIEST_SECONDS - (time.monotonic() - began)))
        yield TriggerEvent({"attempt": self.attempt, "shown": self.shown})  # type: ignore[no-untyped-call]

    async def on_kill(self) -> None:
        """A person marked or cleared the task: its job ends too."""
        await asyncio.to_thread(self._cancel)

    def _ended(self) -> bool:
        from airloom.jobs.submit import settle
        from airloom.jobs.table import Attempts
        from airloom.settings import load

        table = Attempts(load().database_address)
        attempt = settle(table, table.get(self.attempt))
        return attempt is None or not attempt.alive

    def _cancel(self) -> None:
        from airloom.jobs.table import Attempts
        from airloom.settings import load

        Attempts(load().database_address).change(self.attempt, cancel="a person ended its deferred task")
