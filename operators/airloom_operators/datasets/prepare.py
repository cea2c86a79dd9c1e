"""Prepare a snapshot."""

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowException

from airloom_operators.base import AirloomOperator
from airloom_operators.connections import Place
from airloom_operators.triggers.snapshot import SnapshotTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context


class PrepareSnapshotOperator(AirloomOperator):
    """Fix which rows of a version a training reads, and how they are split. It holds no slot while it waits.

    Args:
        version: `digits` (the newest), `digits@v2` or `digits@golden`; in a DAG that runs for each version
            `digits@{{ partition_key }}`.
        split: share by name; or a published split, `{"column": "part"}` or `{"tags": {"train": [...], ...}}`, with what
            names each part; left out, the dataset's published split, else the usual shares.
        since: only rows that came after this version.
        tags: only rows of commits with all of these tags; `!tag`: without it.
        timeout: seconds to wait.
    """

    template_fields: Sequence[str] = ("version", "split", "since", "tags")

    def __init__(
        self, *, version: str, split: Any = None, since: Any = 0, tags: Any = (), timeout: float = 3600, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.version = version
        self.split = split
        self.since = since
        self.tags = tags
        self.timeout = timeout

    def execute(self, context: "Context") -> dict[str, Any]:
        """Start the preparation; return the snapshot where it is READY already."""
        from airloom.datasets import versions
        from airloom.datasets.snapshots import snapshot

        with self.step() as settings:
            version = versions.find(settings, self.version)
            split = snapshot.split_of(self.split)
            asked = snapshot.ask(settings, version, split, since=int(self.since), tags=list(self.tags))
            state = snapshot.start(settings, asked)
        self.log.info("snapshot %s of %s: %s", asked.id, version.name, state)
        if state == snapshot.READY:
            return self.ready(context, asked.to_dict())
        patience = timedelta(seconds=self.timeout)
        place = Place(self.connection_id, self.project).arguments()
        self.defer(trigger=SnapshotTrigger(asked.to_dict(), **place), method_name="ready", timeout=patience)
        raise AssertionError("defer always raises")

    def ready(self, context: "Context", event: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002 - Airflow's signature
        """Return the snapshot of the trigger's event, with the rows of each split.

        Raises:
            AirflowException: it failed, with the reason.
        """
        from airloom.contracts import Snapshot
        from airloom.datasets.snapshots import snapshot

        with self.step() as settings:
            known = snapshot.record(settings, event["id"])
            if known and known["state"] == snapshot.FAILED:
                raise AirflowException(f"snapshot {event['id'][:12]} failed: {known['error']}")
            prepared = snapshot.make(settings, Snapshot.from_dict(event))  # at once where it is READY, as nearly always
        self.log.info("snapshot %s is READY: rows %s", prepared.id, prepared.rows)
        return prepared.to_dict()
