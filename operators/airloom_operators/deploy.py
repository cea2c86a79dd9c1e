"""The deployment step."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from airloom.contracts import RegisteredVersion
from airloom_operators.base import StepOperator
from airloom_operators.templates import record

if TYPE_CHECKING:
    from airflow.sdk import Context


class DeployOperator(StepOperator):
    """Have a registered version serve, as the pipeline file's `deploy` says: at once, or as shadow and canary first.

    While it is on its way the task is deferred; the model servers judge it, also when nobody waits. Where it does not
    become the champion the task is skipped, and a note on the run says why.

    Args:
        context: what `ResolveOperator` returned.
        registered: what `RegisterOperator` returned.
        serve_timeout: seconds to wait for the model server.
    """

    template_fields: Sequence[str] = ("context", "registered")

    def __init__(self, *, context: Any, registered: Any, serve_timeout: float = 60, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.context = context
        self.registered = registered
        self.serve_timeout = serve_timeout

    def execute(self, context: "Context") -> dict[str, Any]:
        """Return the deployment record."""
        from airloom.pipeline.steps import promote
        from airloom.spec.load import definition
        from airloom_operators.triggers.rollout import RolloutTrigger

        with self.step() as settings:
            ctx, registered = self.run_context(), record(RegisteredVersion, "registered", self.registered)
            self.link_to(settings, ctx)
            definition(ctx).policy  # noqa: B018 - what nobody judged serves where a person says so, and not else
            begun = promote.begin_deployment(settings, ctx, registered)
        if begun.rollout is not None:
            self.log.info("%s", begun.rollout)
            place = {"connection_id": self.connection_id, "project": self.project}
            trigger = RolloutTrigger(registered.model, registered.version, begun.generation, **place)
            self.defer(trigger=trigger, method_name="resume", kwargs={"begun": begun.to_dict()})
        return self._end(context, begun.to_dict())

    def resume(
        self,
        context: "Context",
        event: dict[str, Any],  # noqa: ARG002 - Airflow gives it; the record says more
        begun: dict[str, Any],
    ) -> dict[str, Any]:
        """Called when the rollout has ended."""
        return self._end(context, begun)

    def _end(self, context: "Context", begun: dict[str, Any]) -> dict[str, Any]:
        """The deployment record, where the version is the champion.

        Raises:
            AirflowSkipException: it is not.
        """
        from airloom.pipeline import run
        from airloom.pipeline.steps import promote

        with self.step() as settings:
            ctx, registered = self.run_context(), record(RegisteredVersion, "registered", self.registered)
            self.link_to(settings, ctx)
            ended = promote.end_deployment(
                settings, registered, begun, lambda line: self.log.info("%s", line), self.serve_timeout
            )
            run.finish(settings, ctx, outcome=run.DEPLOYED if ended.promoted else ended.outcome)
        if ended.promoted:
            self.note(context, f"{ctx.snapshot.version_name}: version {registered.version} is the champion")
            return ended.deployment
        text = f"Version {registered.version} of {registered.model} does not serve: {ended}"
        self.log.warning("%s", text)  # Airflow logs no word of why a task is skipped
        self.note(context, text)
        raise AirflowSkipException(text)
