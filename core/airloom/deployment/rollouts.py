"""A version's way to the champion's place: it begins, goes on stage by stage, and ends.

The model servers judge each stage and move the record (`judge`, `go_on`), so that a rollout goes on when whoever began
it is gone. Each move is a new generation, which only one of them makes.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from airloom.contracts import Record
from airloom.deployment import tallies
from airloom.deployment.judge import GO_ON, HOLD, KEEP, ROLL_BACK, Verdict, judge
from airloom.deployment.record import Deployment, Overtaken, change, check_free, current, deploy
from airloom.deployment.rollout import Counts, Rollout, now
from airloom.errors import ConfigError, RegistryError
from airloom.names import shown_model
from airloom.registry import models
from airloom.settings import Settings
from airloom.tracking import runs
from airloom.tracking.tags import Tag

PROMOTED, ROLLED_BACK, INCONCLUSIVE, STOPPED = "promoted", "rolled back", "inconclusive", "stopped"
LONGEST_AFTER = 30.0  # seconds after a deadline in which servers may still move a rollout; then nobody does
POLL = 1.0  # seconds between two looks of whoever waits


@dataclass(frozen=True)
class Standing(Record):
    """How a rollout stands, for people.

    Attributes:
        deployment: the record, as a dict.
        counts: of the stage that it is in, of all servers.
        verdict: what would come of it now; None where nothing is on its way.
        endings: what came of this version's rollouts, or of the champion's where nothing is on its way.
    """

    deployment: dict[str, Any]
    counts: Counts | None = None
    verdict: Verdict | None = None
    endings: list[dict[str, Any]] = field(default_factory=list)


def begin(settings: Settings, model: str, rollout: Rollout) -> Deployment:
    """Let a version answer beside the champion, in the first of its stages.

    Without a champion, or without stages, it becomes the champion at once. Where it is on its way or champion already
    nothing changes.

    Args:
        settings: of this installation.
        model: its name.
        rollout: with its stages and limits.

    Raises:
        RegistryError: the version cannot serve, another one is on its way, or another deployment was faster.
        ConfigError: no model server was ever started here, so that nobody would ask the version.
    """
    model = models.own(settings, model)
    models.deployable(settings, model, rollout.version)
    settle(settings, model)

    def wanted(before: Deployment, serving: str) -> Deployment | None:
        if before.rollout is not None and before.rollout.version == rollout.version:
            return None
        check_free(before, model)
        if serving == rollout.version:
            return None
        if not serving:
            return before.with_(champion=rollout.version, by=rollout.by)
        return before.with_(rollout=rollout.with_(at=0, since=now()), by=rollout.by)

    if not rollout.stages:
        return deploy(settings, model, rollout.version, rollout.by)
    if not settings.model_server and models.champion(runs.client(settings), model) is not None:
        hint = "start one (`airloom up`), or give `deploy.steps` of the pipeline file the champion alone"
        raise ConfigError(f"no model server was started here, so version {rollout.version} would answer nobody", hint)
    return change(settings, model, wanted, f"that of version {rollout.version}", rollout.version)


def go_on(settings: Settings, model: str, generation: int, verdict: Verdict, counts: Counts) -> Deployment | None:
    """Do what a verdict says.

    Args:
        settings: of this installation.
        model: its name in the registry.
        generation: of the record that was judged.
        verdict: of its stage.
        counts: that it was judged by.

    Returns:
        The new record; None where somebody else moved it since, or the verdict says to hold.

    Raises:
        RegistryError: MLflow does not answer, or the version can no longer be deployed.
    """
    if verdict.action == HOLD:
        return None
    ending, version = "", ""
    before = current(settings, model)
    rollout = before.rollout
    if before.generation != generation or rollout is None:
        return None
    following = rollout.following if verdict.action == GO_ON else None
    if verdict.action == GO_ON:
        version = rollout.version
        ending = "" if following else f"{PROMOTED}: {verdict.reason}"
    elif verdict.action == ROLL_BACK:
        ending = f"{ROLLED_BACK}: {verdict.reason}"
    elif verdict.action == KEEP:
        ending = f"{INCONCLUSIVE}: {verdict.reason}"

    def wanted(before: Deployment, serving: str) -> Deployment | None:
        if before.generation != generation or serving != before.champion:
            return None  # somebody moved the record or the alias; `adopt` looks at that
        if following is not None or not version:
            return before.with_(rollout=following)
        return before.with_(champion=version, previous=before.champion, rollout=None)

    try:
        what = f"the end of the stage {rollout.stage}"
        after = change(settings, model, wanted, what, version, ending=ending, counts=counts)
    except Overtaken:
        return None
    return None if after.generation == generation else after


def stop(settings: Settings, model: str, by: str = "") -> Deployment:
    """Take a version back that is on its way; the champion stays.

    Raises:
        RegistryError: none is, the model is another installation's, or another deployment was faster.
    """
    model = models.own(settings, model)

    def wanted(before: Deployment, _: str) -> Deployment | None:
        if before.rollout is None:
            raise RegistryError(f"of {model} no version is on its way", "`airloom deploy show` tells what serves")
        return before.with_(rollout=None, by=by)

    whose = f" by {by}" if by else ""
    return change(settings, model, wanted, "this stop", ending=f"{STOPPED}{whose}")


def roll_back(settings: Settings, model: str, by: str = "") -> Deployment:
    """Make the previous champion the champion again; a second roll-back undoes the first.

    Where a version is on its way to be the champion, it is taken back, and the champion stays.

    Raises:
        RegistryError: there is no previous one, it is another installation's, or another deployment was faster.
    """
    registered = models.own(settings, model)
    before = current(settings, model)
    if before.rollout is not None:
        return stop(settings, model, by)
    if not before.previous:
        raise RegistryError(f"{model} has no previous champion", "`airloom model promote` takes any version")
    return deploy(settings, registered, before.previous, by)


def settle(settings: Settings, model: str) -> None:
    """End a rollout whose deadline is long over: no server runs that would have."""
    record = current(settings, model)
    if record.rollout is None or time.time() < record.rollout.deadline.timestamp() + LONGEST_AFTER:
        return
    counts = tallies.total(settings.database_address, model, record.generation)
    verdict = Verdict(KEEP, f"no model server judged it in time; {counts.requests} requests", [])
    go_on(settings, model, record.generation, verdict, counts)


def standing(settings: Settings, model: str) -> Standing:
    """How a model's rollout stands.

    Raises:
        RegistryError: there is no such model, or MLflow does not answer.
    """
    registered = settings.registered(model)
    record = current(settings, model)
    version = record.rollout.version if record.rollout else record.champion
    endings = endings_of(settings, registered, version) if version else []
    if record.rollout is None:
        return Standing(record.to_dict(), endings=endings)
    counts = tallies.total(settings.database_address, registered, record.generation)
    return Standing(record.to_dict(), counts, judge(record.rollout, counts), endings)


def endings_of(settings: Settings, model: str, version: str) -> list[dict[str, Any]]:
    """What came of a version's rollouts, the newest last."""
    tags = models.get_version(settings, model, version).tags
    return list(json.loads(tags.get(Tag.ROLLOUT, "[]")))


@dataclass(frozen=True)
class Ended(Record):
    """What came of a rollout.

    Attributes:
        outcome: promoted, rolled back, inconclusive, stopped, or another champion.
        reason: for people.
        deployment: the record then, as a dict.
    """

    outcome: str
    reason: str
    deployment: dict[str, Any]

    @property
    def promoted(self) -> bool:
        """Whether the version is the champion."""
        return self.outcome == PROMOTED

    def __str__(self) -> str:
        return f"{self.outcome}: {self.reason}"


def ended(settings: Settings, model: str, version: str, since: int) -> Ended | None:
    """What came of a rollout; None while it is on its way.

    Args:
        settings: of this installation.
        model: its name.
        version: that was rolled out.
        since: the generation in which it began.
    """
    settle(settings, model)
    record = current(settings, model)
    if record.rollout is not None and record.rollout.version == version:
        return None
    told = [e for e in endings_of(settings, settings.registered(model), version) if e["generation"] >= since]
    if told:
        outcome, _, reason = told[-1]["ended"].partition(": ")
        return Ended(outcome, reason, record.to_dict())
    outcome = PROMOTED if record.champion == version else STOPPED
    return Ended(outcome, f"version {record.champion} serves", record.to_dict())


def wait(
    settings: Settings, model: str, deployment: Deployment, version: str, log_line: Callable[[str], None]
) -> Ended:
    """Wait for a rollout's end, and tell each change of its state.

    Args:
        settings: of this installation.
        model: its name.
        deployment: as `begin` returned it.
        version: that is rolled out.
        log_line: gets each line of progress.
    """
    shown = shown_model(settings.registered(model), settings.installation)
    told = ""
    while (end := ended(settings, model, version, deployment.generation)) is None:
        stands = standing(settings, model)
        if stands.verdict is not None and (line := f"{shown}: {_line(stands)}") != told:
            log_line(line)
            told = line
        time.sleep(POLL)
    return end


def _line(stands: Standing) -> str:
    rollout = Rollout.from_dict(stands.deployment["rollout"])
    return f"{rollout}: {stands.verdict.reason if stands.verdict else ''}"
