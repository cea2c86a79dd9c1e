"""Waits for the end of a rollout while its task is deferred."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airloom.errors import AirloomError
from airloom_operators.connections import Place
from airloom_operators.triggers.job import EARLIEST_SECONDS

if TYPE_CHECKING:
    from airloom.settings import Settings

POLL_SECONDS = 2.0


class RolloutTrigger(BaseTrigger):
    """Polls the deployment record. The model servers move it; whoever waits only looks.

    Args:
        model: its name in the registry.
        version: that is on its way.
        generation: of the record in which its rollout began.
        connection_id: of type `airloom`; empty for none.
        project: a folder of the project, where nothing else names one.
    """

    def __init__(self, model: str, version: str, generation: int, connection_id: str = "", project: str = "") -> None:
        super().__init__()  # type: ignore[no-untyped-call] # Airflow's own is untyped
        self.model = model
        self.version = version
        self.generation = generation
        self.place = Place(connection_id, project)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Where this class is, and its arguments."""
        return "airloom_operators.triggers.rollout.RolloutTrigger", {
            "model": self.model,
            "version": self.version,
            "generation": self.generation,
            **self.place.arguments(),
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """One event, when the rollout has ended."""
        began, settings = time.monotonic(), await self.place.settings()
        while not await asyncio.to_thread(self._has_ended, settings):
            await asyncio.sleep(POLL_SECONDS)
        await asyncio.sleep(max(0.0, EARLIEST_SECONDS - (time.monotonic() - began)))
        yield TriggerEvent({"version": self.version})  # type: ignore[no-untyped-call] # as above

    def _has_ended(self, settings: "Settings") -> bool:
        from airloom.deployment import rollouts

        try:
            return rollouts.ended(settings, self.model, self.version, self.generation) is not None
        except AirloomError as error:
            self.log.warning("cannot look at the rollout of %s, trying again: %s", self.model, error)
            return False
