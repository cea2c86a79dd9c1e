"""The deployment record: what should serve, with a generation that only one writer can move."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from airloom.contracts import Record
from airloom.deployment.generations import advance, generation
from airloom.deployment.rollout import CANARY, SHADOW, Counts, Rollout, now
from airloom.errors import RegistryError, SignatureRefused
from airloom.registry import models, signatures
from airloom.settings import Settings
from airloom.tracking import runs
from airloom.tracking.claim import claim
from airloom.tracking.tags import READY, Tag

if TYPE_CHECKING:
    from mlflow import MlflowClient

BY_HAND, INTERRUPTED = "by hand", "an interrupted deployment"  # who moved an alias
ENDED_BACK = "put back"  # what came of it
ENDINGS = 5  # rollouts of a version whose end its tag tells
_LATER = ("by", "rollout", "evidence", "put_back")  # keys that earlier releases do not all know
_TEXT = 300  # characters of a reason in a tag


@dataclass(frozen=True)
class Deployment(Record):
    """Which version of a model should serve; as JSON it is the tag `Tag.DEPLOYMENT` of the registered model."""

    generation: int = 0  # 0: nothing was deployed yet
    champion: str = ""
    previous: str = ""  # the champion before this one, to which `roll_back` returns
    at: str = ""  # ISO 8601, UTC
    by: str = ""  # who changed it, where that is known
    rollout: Rollout | None = None  # a version on its way to be the champion
    evidence: bool = False  # whether a version that a person gives the alias needs it; see `deploy.by_hand`
    put_back: str = ""  # which version had none, and why it does not serve

    def to_dict(self) -> dict[str, Any]:
        """As an earlier release reads it too, where nothing is in it that it does not know."""
        return {name: value for name, value in super().to_dict().items() if value or name not in _LATER}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        rollout = values.get("rollout")
        return cls(**{**values, "rollout": Rollout.from_dict(rollout) if rollout else None})

    @classmethod
    def of_tags(cls, tags: dict[str, str]) -> Self:
        """What the tags of a registered model say.

        Raises:
            RegistryError: the tag is no record; somebody changed it.
        """
        try:
            return cls.from_dict(json.loads(tags.get(Tag.DEPLOYMENT, "{}")))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            hint = "delete the tag in MLflow: the alias `champion` says what serves"
            raise RegistryError(f"the tag {Tag.DEPLOYMENT} is no deployment record: {error!r}"[:300], hint) from None


def current(settings: Settings, model: str) -> Deployment:
    """What should serve now, by the tag of the registered model: `digits`, or another installation's `prod.digits`.

    Raises:
        RegistryError: there is no such model, or MLflow does not answer.
    """
    from mlflow.exceptions import MlflowException

    client = runs.client(settings)
    with runs.connection_errors(settings):
        try:
            tags = client.get_registered_model(settings.registered(model)).tags
        except MlflowException as error:
            if error.error_code not in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
                raise
            raise RegistryError(f"there is no registered model {model}", "run its pipeline first") from None
    return Deployment.of_tags(tags)


def deploy(settings: Settings, model: str, version: str, by: str = "") -> Deployment:
    """Make `version` the champion at once. What is champion already stays so, without a new generation.

    Args:
        settings: of this installation.
        model: its name.
        version: the number.
        by: who wants it.

    Raises:
        RegistryError: no such version, it is half-registered, it is another installation's, another version is on its
            way, or another deployment was faster.
        ConfigError: another installation has the name of this one in this MLflow.
    """
    model = models.own(settings, model)
    models.deployable(settings, model, version)

    def wanted(before: Deployment, serving: str) -> Deployment | None:
        check_free(before, model)
        if serving == version == before.champion:
            return None
        return _with_champion(before, serving, version).with_(by=by)

    return change(settings, model, wanted, f"that of version {version}", version)


def adopt(settings: Settings, model: str) -> Deployment | None:
    """Take over what a person did with MLflow's own means: the alias `champion` says another version than the record.

    It becomes a generation of its own, and ends a rollout. Where the champion's pipeline asks for evidence and the
    version has none, the alias is put back, which is a generation too: record and version tell why.

    Args:
        settings: of this installation.
        model: its name in the registry.

    Returns:
        The new record; None where both say the same, or a deployment is just being written.
    """

    known = current(settings, model)
    by = INTERRUPTED if known.generation == generation(settings, model) + 1 else BY_HAND  # see `change`: it was killed
    alias, problem = "", ""
    if known.evidence and by == BY_HAND:
        with runs.connection_errors(settings):
            moved = models.champion(runs.client(settings), model)
        alias = str(moved.version) if moved else ""
        problem = _lacks_evidence(settings, model, alias) if alias not in ("", known.champion) else ""

    def wanted(before: Deployment, serving: str) -> Deployment | None:
        if serving == before.champion:
            return None
        if before.evidence and by == BY_HAND and serving != alias:
            return None  # moved once more since; the next look finds it
        if problem:
            text = f"version {serving} was made the champion by hand and is put back: {problem}"
            return before.with_(by=BY_HAND, put_back=text[:_TEXT])
        return _with_champion(before, before.champion, serving).with_(by=by, rollout=None)

    try:
        ending = "" if problem else f"another champion, {by}"
        after = change(settings, model, wanted, "what an alias says", aliases=bool(problem), ending=ending)
    except Overtaken:
        return None
    if after == known:
        return None
    if problem:
        told = {"ended": f"{ENDED_BACK}: {after.put_back}"[:_TEXT], "stage": BY_HAND, "since": after.at, "at": after.at}
        _add_ending(runs.client(settings), model, alias, told | {"generation": after.generation, "counts": {}})
    return after


def _lacks_evidence(settings: Settings, model: str, version: str) -> str:
    """Why a version may not serve where evidence is asked; empty where it may.

    One that a person registered over the gate's refusal, with a reason, has evidence: both are on record.
    """
    with runs.connection_errors(settings):
        found = runs.client(settings).get_model_version(model, version)  # which Airloom need not have made
    try:
        signatures.check(settings, found)
    except SignatureRefused as error:
        return error.message
    if found.tags.get(Tag.STATE) != READY or not found.tags.get(Tag.EVIDENCE):
        return "no gate let it pass; run its pipeline, or `airloom model promote` a version that has evidence"
    return ""


class Overtaken(RegistryError):
    """Another deployment was faster."""


def change(
    settings: Settings,
    model: str,
    wanted: Callable[[Deployment, str], Deployment | None],
    what: str,
    version: str = "",
    *,
    aliases: bool = True,
    ending: str = "",
    counts: Counts | None = None,
) -> Deployment:
    """Move the record from what it is to what is wanted, in one write after a compare-and-swap of its generation.

    Args:
        settings: of this installation.
        model: its name in the registry.
        wanted: gets the record and the version that has the alias `champion`; returns the new record, without
            generation and time, or None where nothing is to be changed.
        what: is deployed, for the message of the one who was slower.
        version: that gets a role, and must be able to serve.
        aliases: whether the alias `champion` follows.
        ending: how a rollout ended that the new record has no more; the version's tag keeps it.
        counts: of its last stage.

    Raises:
        Overtaken: another deployment was faster.
        RegistryError: the version cannot be deployed, or MLflow does not answer.
    """
    expected, before = generation(settings, model), current(settings, model)
    client = runs.client(settings)
    with runs.connection_errors(settings):
        claim(settings, client)
        champion = models.champion(client, model)
        after = wanted(before, str(champion.version) if champion else "")
        if after is None:
            return before
        after = after.with_(generation=max(expected, before.generation) + 1, at=now())
        with advance(settings, model, expected, after.generation) as moved:
            if not moved:
                message = f"another deployment of {model} was faster than {what}"
                raise Overtaken(message, "look at what serves now, then deploy again")
            if version:
                models.deployable(settings, model, version)  # once more: a collection may have been here
            if after.champion and after.champion != before.champion:
                asks = client.get_model_version(model, after.champion).tags.get(Tag.BY_HAND) == "evidence"
                after = after.with_(evidence=asks, put_back="")
            if before.rollout is not None and ending:
                _tell_end(client, model, before, ending, counts or Counts())
            _write(client, model, after, aliases=aliases)
    return after


def _with_champion(before: Deployment, serving: str, version: str) -> Deployment:
    return before.with_(champion=version, previous=serving if serving != version else before.previous)


def check_free(before: Deployment, model: str) -> None:
    """Refuse another deployment while a version is on its way.

    Raises:
        RegistryError: one is.
    """
    if before.rollout is not None:
        hint = f"wait for its end, or take it back: `airloom deploy stop {model}`"
        raise RegistryError(f"{model}: {before.rollout} is on its way to be the champion", hint)


def _tell_end(client: "MlflowClient", model: str, before: Deployment, ending: str, counts: Counts) -> None:
    """Keep on the version how its rollout ended: the record forgets it."""
    rollout = before.rollout
    assert rollout is not None  # noqa: S101 - asked before
    told: dict[str, Any] = {"ended": ending[:_TEXT], "stage": str(rollout.stage), "since": rollout.since, "at": now()}
    told |= {"generation": before.generation, "counts": {name: n for name, n in counts.to_dict().items() if n}}
    _add_ending(client, model, rollout.version, told)


def _add_ending(client: "MlflowClient", model: str, version: str, told: dict[str, Any]) -> None:
    known = json.loads(client.get_model_version(model, version).tags.get(Tag.ROLLOUT, "[]"))
    client.set_model_version_tag(model, version, Tag.ROLLOUT, json.dumps([*known, told][-ENDINGS:]))


def _write(client: "MlflowClient", model: str, deployment: Deployment, *, aliases: bool) -> None:
    client.set_registered_model_tag(model, Tag.DEPLOYMENT, json.dumps(deployment.to_dict()))
    set_aliases = client.get_registered_model(model).aliases
    role = deployment.rollout.stage.role if deployment.rollout else ""
    for alias in {CANARY, SHADOW} & set(set_aliases) - {role}:
        client.delete_registered_model_alias(model, alias)
    if deployment.rollout:
        client.set_registered_model_alias(model, role, deployment.rollout.version)
    if deployment.previous:
        client.set_registered_model_alias(model, "previous", deployment.previous)
    if aliases and deployment.champion:
        client.set_registered_model_alias(model, "champion", deployment.champion)
