"""Starts the runs of the dataset versions that were announced while their DAG was paused.

Airflow makes no run of an asset's event for a DAG that is paused, and none later. So the events of each dataset are
compared with the runs of the DAGs that are scheduled by it alone (`each_version`). How far a DAG has come is kept with
the asset, in Airflow: a run that a person deleted is not started again. A thread of the jobs' reconciler does it.
"""

import logging
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from airloom.contracts import Record
from airloom.datasets import versions
from airloom.datasets.announcements import highest_key, number_of, partition_key
from airloom.errors import ConfigError, DataError, StackError
from airloom.settings import Settings
from airloom.spec.pipeline import SKIP_MISSED
from airloom.stack import looking
from airloom.stack.airflow_api import AirflowApi

log = logging.getLogger(__name__)
DATASETS = "airloom://datasets/"
EVERY = 5.0  # seconds between two looks
# The scheduler gets so long to make the run of an event itself, by its heartbeats: one that stands still makes none.
PATIENCE = timedelta(seconds=10)
WAIT = 60.0  # seconds that a person waits for it
Event = dict[str, Any]


@dataclass(frozen=True)
class VersionRun(Record):
    """A run of a DAG about a version."""

    version: int
    run: str
    started: bool  # now; the others had one already


def run_id(number: int) -> str:
    """The run that is about a missed version: one name, so that whoever comes second starts no other."""
    return f"catch_up__{partition_key(number)}"


def follows(dag: dict[str, Any], uri: str) -> bool:
    """Whether a DAG has a run for each version of a dataset: it is scheduled by the dataset alone, by partition."""
    expression = dag["asset_expression"] or {}
    return bool(dag["timetable_partitioned"]) and expression.get("asset", {}).get("uri") == uri


def reached_at_first(events: Collection[Event], dag: str) -> int:
    """How far a DAG of which nothing is kept has come: to the newest version that started it, 0 before the first.

    What it missed before may have been a person's wish, or its run was deleted: nobody can tell.
    """
    return highest_key(e["partition_key"] for e in events if any(run["dag_id"] == dag for run in e["created_dagruns"]))


def announced(events: Collection[Event], after: int) -> list[int]:
    """The versions after this one that events tell of, in order."""
    numbers = {highest_key([event["partition_key"]]) for event in events}
    return sorted(number for number in numbers if number > after)


class MissedVersions:
    """What was seen so far. It saves requests: a new process looks again."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.through: dict[tuple[int, str], int] = {}  # asset and DAG: the newest event that was dealt with
        self.paused: dict[tuple[int, str], int] = {}  # likewise, of DAGs that wait for somebody to unpause them
        self.first_seen: dict[tuple[str, int], datetime] = {}  # a version without a run: the heartbeat at that time
        self.logged: dict[str, str] = {}  # DAG: what went wrong

    def look(self, api: AirflowApi) -> None:
        """Start what is missing of each DAG that is not paused, in order.

        Raises:
            StackError: Airflow does not answer.
        """
        for asset in api.assets(DATASETS):
            newest = (asset["last_asset_event"] or {}).get("id")
            for reference in asset["scheduled_dags"]:
                place = asset["id"], reference["dag_id"]
                if newest is None or self.through.get(place) == newest:
                    continue
                try:
                    if self._catch_up(api, asset, reference["created_at"], *place):
                        self.through[place] = newest
                    self.logged.pop(place[1], None)
                except StackError as error:  # of this DAG; the others are not to wait for it
                    if self.logged.get(place[1]) != error.message:
                        log.warning("%s: its missed versions wait: %s", place[1], error.message)
                    self.logged[place[1]] = error.message

    def _catch_up(self, api: AirflowApi, asset: dict[str, Any], since: str, identity: int, name: str) -> bool:
        """Whether nothing is left to do until the next event."""
        dag, newest = api.dag_or_none(name), asset["last_asset_event"]["id"]
        if not dag or dag["is_stale"] or dag["has_import_errors"]:
            return False
        if dag["is_paused"] and self.paused.get((identity, name)) == newest:
            return False
        if not follows(dag, asset["uri"]):
            return True
        dataset, key = asset["uri"].removeprefix(DATASETS), f"reached by {name}"
        events = api.asset_events(identity, since)
        kept = api.asset_state(identity, key)
        reached, *had = [reached_at_first(events, name)] if kept is None else [int(number) for number in kept]
        numbers = announced(events, reached)
        # A version that had a run once is not missed, whatever became of the run while an older version waits.
        there = {number for number in numbers if number in had or api.has_version(name, partition_key(number))}
        missing = [number for number in numbers if number not in there]
        if any(tag["name"] == SKIP_MISSED for tag in dag["tags"]):
            missing = []
        if missing:
            deleted = {version.number for version, gone in versions.history(self.settings, dataset) if gone}
            missing = [number for number in missing if number not in deleted]
        settled = not missing or self._scheduler_made_none(api, name, missing)
        if settled and not dag["is_paused"]:
            for number in missing:
                api.trigger_version(name, partition_key(number), run_id(number))
                log.info("%s: started a run of %s@v%d, announced while it was paused", name, dataset, number)
            missing = []
        if missing:
            reached = max([reached, *(number for number in numbers if number < missing[0])])
            if settled:
                self.paused[identity, name] = newest
        else:
            reached = max([reached, *numbers])
        state = [reached, *sorted(number for number in there if number > reached)]
        if state != kept:
            api.keep_asset_state(identity, key, state)
        return not missing

    def _scheduler_made_none(self, api: AirflowApi, name: str, missing: list[int]) -> bool:
        """Whether the scheduler had the time to start these runs itself."""
        beat = api.scheduler_beat()
        if beat is None:
            return False
        seen = [self.first_seen.setdefault((name, number), beat) for number in missing]
        return beat - max(seen) >= PATIENCE


def catch_up(settings: Settings, api: AirflowApi, name: str, first: int) -> list[VersionRun]:
    """Start a run for each version from `first` on that has none, in order; those of a paused DAG wait in its queue.

    Args:
        settings: of this installation.
        api: of its Airflow.
        name: of the DAG.
        first: number of a version.

    Raises:
        ConfigError: the DAG has no runs for the versions of a dataset.
        DataError: there is no such dataset, or no version from there on.
        StackError: Airflow does not answer, or its scheduler stands still.
    """
    followed = {r["dag_id"]: asset for asset in api.assets(DATASETS) for r in asset["scheduled_dags"]}
    asset, dag = followed.get(name), api.dag_or_none(name)
    if not asset or not dag or not follows(dag, asset["uri"]):
        hint = f"with a run for each version there are: {', '.join(sorted(followed)) or 'none'}"
        raise ConfigError(f"{name} is no DAG with a run for each version of a dataset", hint)
    dataset = asset["uri"].removeprefix(DATASETS)
    wanted = [version.number for version in versions.list_versions(settings, dataset) if version.number >= first]
    if not wanted:
        newest = versions.highest(settings, dataset)
        raise DataError(f"{dataset} has no version from v{first} on", f"its newest is v{newest}")
    _await_scheduler(api, asset["last_asset_event"])
    result = []
    for number in wanted:
        there = api.has_version(name, partition_key(number))
        started = not there and api.trigger_version(name, partition_key(number), run_id(number))
        result.append(VersionRun(number, run_id(number) if started else "", started))
    return result


def _await_scheduler(api: AirflowApi, event: Event | None) -> None:
    """Until the scheduler had the time to start the runs of the newest event itself."""
    if not event or not event.get("timestamp"):
        return
    at, until = datetime.fromisoformat(event["timestamp"]), time.monotonic() + WAIT
    while (beat := api.scheduler_beat()) is None or beat - at < PATIENCE:
        if time.monotonic() > until:
            raise StackError(f"Airflow's scheduler has not gone round since {beat}", "nothing was started; look at it")
        time.sleep(1)


def version_number(text: str) -> int:
    """`v3` or `3` → 3.

    Raises:
        ConfigError: it is neither.
    """
    try:
        return number_of(text if text.startswith("v") else f"v{text}")
    except ConfigError:
        raise ConfigError(f"--from {text[:80]!r} names no dataset version", "give a number, for example v3") from None


def start(settings: Settings) -> threading.Thread:
    """Look for ever, in a thread."""
    return looking.start(settings, "missed versions", MissedVersions(settings).look, EVERY)
