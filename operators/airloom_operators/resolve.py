"""The first step: which dataset version, which snapshot, which MLflow run."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airloom_operators.base import StepOperator, cleared, map_index, who
from airloom_operators.templates import flag, mapping, number

if TYPE_CHECKING:
    from airflow.sdk import Context


class ResolveOperator(StepOperator):
    """Fix what the run works on.

    Args:
        pipeline_file: path of the pipeline file, from the project's root or absolute.
        dataset_version: a number; empty for the version of the run's partition key, else the newest.
        parameters: override the file's parameters for this run.
        cache: whether steps may take results of earlier runs; not where a person cleared this task.
        cause: the alarm that started the run: its model has to be better than the champion. Empty for any other run.
    """

    template_fields: Sequence[str] = ("pipeline_file", "dataset_version", "parameters", "cache", "cause")

    def __init__(
        self,
        *,
        pipeline_file: str,
        dataset_version: Any = None,
        parameters: Any = None,
        cache: Any = True,
        cause: str = "",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.pipeline_file = pipeline_file
        self.dataset_version = dataset_version
        self.parameters = parameters
        self.cache = cache
        self.cause = cause

    def execute(self, context: "Context") -> dict[str, Any]:
        """Return the run context that all later steps take."""
        from airloom.names import RunKey
        from airloom.pipeline.steps.resolve import resolve

        with self.step() as settings:

            def key(pipeline: str) -> str:
                place = context["dag"].dag_id, context["run_id"]
                return str(RunKey.of(*place, pipeline, map_index(context["ti"]), settings.installation))

            file = (settings.project / self.pipeline_file).resolve()
            version = wanted_version(context.get("partition_key"), self.dataset_version)
            reuse = flag("cache", self.cache, default=True) and not cleared(context)
            task, parameters = context["ti"].task_id, mapping("parameters", self.parameters)
            user = who(context, settings)
            cause = str(self.cause or "").strip()
            run = resolve(
                settings, Path(file), key, version, parameters, cache=reuse, task=task, user=user, cause=cause
            )
            self.link_to(settings, run)
        snapshot = run.snapshot
        self.log.info("%s@v%s, rows %s, snapshot %s", snapshot.dataset, snapshot.version, snapshot.rows, snapshot.id)
        return run.to_dict()


def wanted_version(key: str | None, argument: Any) -> int | None:
    """The version that a run is about: of its partition key, else of the argument; None for the newest.

    Raises:
        ConfigError: the two differ, or one of them names no version.
    """
    from airloom.datasets.announcements import number_of
    from airloom.errors import ConfigError

    asked = number("dataset_version", argument)
    if key is None:
        return asked
    version = number_of(key)
    if asked is not None and asked != version:
        raise ConfigError(f"the run is of partition {key}, its dataset version is {asked}", "leave one of them out")
    return version
