"""What a step is. A new step is one file with a `Step` and the function that it names; see docs/architecture.md."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from airloom.cache.entries import CacheEntry
from airloom.cache.manifest import Reading
from airloom.contracts import CacheDecision, RunContext
from airloom.jobs.spec import JobSpec, Resources
from airloom.names import JobKey
from airloom.settings import Settings
from airloom.spec.load import definition
from airloom.spec.pipeline import Pipeline

Arguments = Mapping[str, Any]  # of a step: results of earlier ones, as JSON


def whole(pipeline: Pipeline) -> Resources:
    """All that the pipeline file gives to a job."""
    asked = pipeline.resources
    return Resources(asked.devices, asked.processes, asked.threads, int(asked.memory), asked.time)


def light(pipeline: Pipeline) -> Resources:
    """The same for a step that needs neither devices nor several processes."""
    asked = pipeline.resources
    return Resources(0, 1, asked.threads, int(asked.memory), asked.time)


def _usable(settings: Settings, entry: CacheEntry) -> str:  # noqa: ARG001 - what most steps need is in the entry itself
    return ""


def _adopt(settings: Settings, ctx: RunContext, decision: CacheDecision) -> None:  # noqa: ARG001 - it leaves nothing
    return None


def _same(settings: Settings, ctx: RunContext, value: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG001 - as it is
    return value


@dataclass(frozen=True)
class Step:
    """A heavy step: a function that runs as a job, with JSON in and out.

    Attributes:
        name: in keys of jobs, in `cache:` of a pipeline file, in logs. A task with this id is this step.
        job: `module:function`; it gets the run context as `context`, and the step's arguments by name.
        resources: what its job may use of what the pipeline file gives.
        reads: what decides its result, for the cache; or the reasons why no earlier result can be taken. Without it the
            step always runs.
        usable: why the result of an earlier run cannot be taken after all; empty where it can.
        adopt: leave in a run that takes an earlier result what the step would have left in it.
        returned: what the step returns of the value that its entry in the cache has.
        decided: the cache's decision where an earlier step has made it, as `resolve` does for all workers of a study.
        mapped_by: the argument that numbers the tasks where the step is mapped, such as the workers of a study.
    """

    name: str
    job: str
    resources: Callable[[Pipeline], Resources] = whole
    reads: Callable[[Settings, RunContext, Arguments], Reading] | None = None
    usable: Callable[[Settings, CacheEntry], str] = _usable
    adopt: Callable[[Settings, RunContext, CacheDecision], None] = _adopt
    returned: Callable[[Settings, RunContext, dict[str, Any]], dict[str, Any]] = _same
    decided: Callable[[Settings, RunContext, Arguments], CacheDecision] | None = None
    mapped_by: str = ""

    def key(self, ctx: RunContext, arguments: Arguments) -> JobKey:
        """The key of its job in a run, the same under Airflow and under `airloom run`."""
        return JobKey(ctx.key, self.name, int(arguments[self.mapped_by]) if self.mapped_by else -1)

    def specification(self, ctx: RunContext, arguments: Arguments) -> JobSpec:
        """The job of this step in a run."""
        pipeline = definition(ctx)
        return JobSpec(
            step=self.job,
            arguments={"context": ctx.to_dict(), **arguments},
            resources=self.resources(pipeline),
            interpreter=pipeline.resources.interpreter,
            environment=list(pipeline.resources.environment),
        )
