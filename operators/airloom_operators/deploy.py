"""The deployment step."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airloom.contracts import RegisteredVersion
from airloom_operators.base import StepOperator
from airloom_operators.templates import record

if TYPE_CHECKING:
    from airflow.sdk import Context


class DeployOperator(StepOperator):
    """Make a registered version the champion and wait until the model server answers with it.

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

    def execute(self, context: "Context") -> dict[str, Any]:  # noqa: ARG002 - everything came as arguments
        """Return the deployment record."""
        from airloom.pipeline import run
        from airloom.pipeline.steps import promote
        from airloom.spec.load import definition

        with self.step() as settings:
            ctx, registered = self.run_context(), record(RegisteredVersion, "registered", self.registered)
            self.link_to(settings, ctx)
            definition(ctx).policy  # noqa: B018 - what nobody judged serves where a person says so, and not else
            desired = promote.deploy(settings, registered, lambda line: self.log.info("%s", line), self.serve_timeout)
            run.finish(settings, ctx)
            return desired
