"""The first step: which dataset version, which snapshot, which MLflow run."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airloom_operators.base import AirloomOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class ResolveOperator(AirloomOperator):
    """Fix what the run works on.

    Args:
        pipeline_file: path of the pipeline file, from the project's root or absolute.
        dataset_version: a number; empty for the version of the triggering asset event, else the newest.
        parameters: override the file's parameters for this run.
    """

    template_fields: Sequence[str] = ("pipeline_file", "dataset_version", "parameters")

    def __init__(
        self, *, pipeline_file: str, dataset_version: Any = None, parameters: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.pipeline_file = pipeline_file
        self.dataset_version = dataset_version
        self.parameters = parameters

    def execute(self, context: "Context") -> dict[str, Any]:
        """Return the run context that all later steps take."""
        from airloom.pipeline import steps

        wanted = self.dataset_version or newest_version(context.get("triggering_asset_events") or {})
        with self.step() as settings:
            file = (settings.project / self.pipeline_file).resolve()
            key = f"{context['dag'].dag_id}/{context['run_id']}"
            version = int(wanted) if wanted else None
            run = steps.resolve(settings, Path(file), key, version, dict(self.parameters or {}))
            self.link_to(settings, run)
        snapshot = run.snapshot
        self.log.info("%s@v%s, rows %s, snapshot %s", snapshot.dataset, snapshot.version, snapshot.rows, snapshot.id)
        return run.to_dict()


def newest_version(events: Any) -> int | None:
    """The newest dataset version among the asset events that started this run.

    An event of the watcher carries its payload nested, one from the REST API flat.
    """
    versions: list[int] = []
    groups: Iterable[Any] = events.values()
    for group in groups:
        for event in group:
            extra = dict(event.extra or {})
            payload = extra.get("payload", extra)
            if isinstance(payload, dict) and "version" in payload:
                versions.append(int(payload["version"]))
    return max(versions, default=None)
