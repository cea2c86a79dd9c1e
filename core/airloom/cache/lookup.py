"""HIT or MISS: whether a step takes what an earlier run of it returned. It knows no step; see `Cacheable`."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from airloom.cache import entries
from airloom.cache.changes import changes
from airloom.cache.entries import CacheEntry
from airloom.cache.manifest import Reading, StepManifest
from airloom.contracts import CacheDecision, RunContext
from airloom.errors import AirloomError
from airloom.files import file_sha256
from airloom.settings import Settings
from airloom.spec.load import definition
from airloom.tracking import runs
from airloom.tracking.tags import Tag

if TYPE_CHECKING:
    from mlflow import MlflowClient

CLEARED = "a person cleared it: it runs anew"
log = logging.getLogger(__name__)


class Cacheable(Protocol):
    """What the cache has to know of a step; `airloom.pipeline.steps.base.Step` says what each means."""

    @property
    def name(self) -> str: ...
    @property
    def reads(self) -> Callable[[Settings, RunContext, Mapping[str, Any]], Reading] | None: ...
    @property
    def usable(self) -> Callable[[Settings, CacheEntry], str]: ...
    @property
    def adopt(self) -> Callable[[Settings, RunContext, CacheDecision], None]: ...
    @property
    def returned(self) -> Callable[[Settings, RunContext, dict[str, Any]], dict[str, Any]]: ...


def look_up(settings: Settings, ctx: RunContext, step: Cacheable, arguments: Mapping[str, Any]) -> CacheDecision:
    """Decide whether a step takes an earlier run's result; a HIT has what the step returned there.

    Args:
        settings: of this installation.
        ctx: of the pipeline run, or of one of its candidates.
        step: what is about to run.
        arguments: of the step.

    Raises:
        MlflowAway: MLflow does not answer.
    """
    if step.reads is None:
        return CacheDecision(step.name, False, ["it is never reused"])
    reads = _switched_off(ctx, step) or step.reads(settings, ctx, arguments)
    if not isinstance(reads, StepManifest):
        return CacheDecision(step.name, False, reads)
    decision = _search(settings, ctx, step, reads)
    return decision.with_(value=step.returned(settings, ctx, decision.value)) if decision.hit else decision


def take(settings: Settings, ctx: RunContext, step: Cacheable, decision: CacheDecision) -> None:
    """Leave in this pipeline run what the step would have left in it, and which run it comes from.

    Args:
        settings: of this installation.
        ctx: of the pipeline run, or of one of its candidates.
        step: whose result it is.
        decision: a HIT.
    """
    with runs.connection_errors(settings):
        step.adopt(settings, ctx, decision)
        runs.client(settings).set_tag(ctx.mlflow_run, _reused(ctx, step), decision.run)


def give_back(settings: Settings, ctx: RunContext, step: Cacheable) -> None:
    """A person wants the step anew: what it does from now on is this run's own."""
    api, tag = runs.client(settings), _reused(ctx, step)
    with runs.connection_errors(settings):
        if tag in api.get_run(ctx.mlflow_run).data.tags:
            api.delete_tag(ctx.mlflow_run, tag)


def remember(
    settings: Settings,
    ctx: RunContext,
    step: Cacheable,
    arguments: Mapping[str, Any],
    work: Callable[[], dict[str, Any]],
) -> dict[str, Any]:
    """Do the work of a step, and keep what it returned for later runs in the MLflow run of the pipeline.

    Args:
        settings: of this installation.
        ctx: of the pipeline run.
        step: whose work it is.
        arguments: of the step.
        work: returns the step's value.
    """
    if step.reads is None:
        return work()
    before = step.reads(settings, ctx, arguments)
    value = work()
    now = step.reads(settings, ctx, arguments)
    if isinstance(before, StepManifest) and isinstance(now, StepManifest):
        keep(settings, ctx, step, (before, now), value=value, run=ctx.mlflow_run)
    return value


def keep(
    settings: Settings,
    ctx: RunContext,
    step: Cacheable,
    manifests: tuple[StepManifest, StepManifest],
    *,
    value: dict[str, Any],
    run: str,
    read: dict[str, str] | None = None,
    unless: str = "",
) -> None:
    """Keep what a step returned for later runs; that it could not be kept is no reason to fail the step.

    Args:
        settings: of this installation.
        ctx: of the pipeline run, or of one of its candidates.
        step: whose result it is.
        manifests: of what it read, before and after: where they differ, nobody knows which of the two it used.
        value: what a later run with the same manifest takes.
        run: the MLflow run that the entry stands in.
        read: sha256 by path of files that it read beyond its manifest.
        unless: why it is not to be kept, such as a budget that cut it; empty to keep it.
    """
    before, now = manifests
    with _harmless():
        if before.key != now.key:
            unless = f"while it ran, {'; '.join(changes(settings, before, now))}"
        if unless:
            log.warning("%s is not kept for later runs: %s", step.name, unless)
            return
        entries.keep(runs.client(settings), run, entries.name_of(ctx, step.name), now, value, read or {})


def _switched_off(ctx: RunContext, step: Cacheable) -> list[str]:
    if not ctx.cache:
        return ["the cache is switched off for this run"]
    used = getattr(definition(ctx).cache, step.name, True)
    return [] if used else [f"cache.{step.name} is false in the pipeline file"]


def _search(settings: Settings, ctx: RunContext, step: Cacheable, reads: StepManifest) -> CacheDecision:
    api, name = runs.client(settings), entries.name_of(ctx, step.name)
    with runs.connection_errors(settings):
        problems: list[str] = []
        for run in entries.same(api, ctx, name, reads.key):
            entry = entries.read(api, run, name)
            problem = entry if isinstance(entry, str) else _moved(settings, entry) or step.usable(settings, entry)
            if not problem and isinstance(entry, CacheEntry):
                key = run.data.tags.get(Tag.KEY, "")
                return CacheDecision(step.name, True, [], run.info.run_id, key, entry.value)
            problems.append(problem)
        if problems:
            return CacheDecision(step.name, False, list(dict.fromkeys(problems)))
        return _miss(settings, api, ctx, step, reads)


def _miss(
    settings: Settings, api: "MlflowClient", ctx: RunContext, step: Cacheable, reads: StepManifest
) -> CacheDecision:
    nearest = entries.nearest(api, ctx, entries.name_of(ctx, step.name), reads)
    if nearest is None:
        return CacheDecision(step.name, False, ["no earlier run of this pipeline is kept for it"])
    why, run = changes(settings, nearest.manifest, reads), nearest.run
    return CacheDecision(step.name, False, why, run.info.run_id, run.data.tags.get(Tag.KEY, ""))


def _moved(settings: Settings, entry: CacheEntry) -> str:
    """A file that the run read without having declared it, and that is not what it was."""
    for name, before in entry.read.items():
        path = settings.project / name
        if not path.is_file() or file_sha256(path) != before:
            return f"{name} changed (it was read, but is no declared input)"
    return ""


def _reused(ctx: RunContext, step: Cacheable) -> str:
    return f"{Tag.REUSED}.{entries.name_of(ctx, step.name)}"


@contextmanager
def _harmless() -> Iterator[None]:
    from mlflow.exceptions import MlflowException
    from requests.exceptions import RequestException

    try:
        yield
    except (AirloomError, MlflowException, RequestException, OSError) as error:
        log.warning("not kept for later runs: %s", error)
