"""The first step: fix what a pipeline run works on. It alone reads the pipeline file."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from airloom.cache.manifest import declared
from airloom.contracts import DatasetVersion, RunContext
from airloom.errors import ConfigError
from airloom.names import check_logged
from airloom.pipeline.steps import tune
from airloom.settings import Settings
from airloom.spec.load import checked, digest, full, read_values
from airloom.spec.pipeline import Pipeline
from airloom.tracking.ending import ending
from airloom.tracking.tags import Tag

DEFINITION = "definition/pipeline.json"  # artifact of the pipeline run: the definition with every default in it


def resolve(
    settings: Settings,
    file: Path,
    key: str | Callable[[str], str],
    version: int | None = None,
    parameters: dict[str, Any] | None = None,
    *,
    cache: bool = True,
) -> RunContext:
    """Fix what this run works on: definition, dataset version, snapshot, parent MLflow run, study.

    Args:
        settings: of this installation.
        file: the pipeline file.
        key: names the pipeline run, or makes its name of the pipeline's; the same one always gives the same MLflow run.
        version: dataset version number, None for the newest.
        parameters: override the file's `parameters`, or fix a key of its search space.
        cache: whether steps may take what earlier runs with the same inputs returned.

    Raises:
        ConfigError: the file or the parameters are wrong.
        DataError: there is no such dataset or version.
        MlflowAway: MLflow does not answer.
    """
    from airloom.datasets import versions
    from airloom.datasets.snapshots import snapshot

    values = read_values(file)
    pipeline = checked(values, where=str(file))
    declared(settings.project, pipeline.inputs)  # before anything is made: a wrong path is a mistake in the file
    name = key if isinstance(key, str) else key(pipeline.pipeline)
    overrides = dict(parameters or {})
    _check_overrides(values, pipeline, overrides)
    dataset = pipeline.dataset
    read = versions.latest(settings, dataset.name) if version is None else versions.get(settings, dataset.name, version)
    split = {str(name): share for name, share in dataset.split.items()}
    prepared = snapshot.prepare(settings, read, split, since=dataset.since, tags=dataset.tags)
    experiment, run = _parent(settings, pipeline, name, read, prepared.id)
    context = RunContext(pipeline.pipeline, values, name, run, experiment, prepared, overrides, cache)
    with ending(settings, context):
        # Here, once: workers that start together would race for the tables, and might not agree on the cache.
        studies = {name: tune.prepare(settings, candidate) for name, candidate in contexts(context).items()}
    return context.with_(studies={name: decision.to_dict() for name, decision in studies.items() if decision})


def contexts(context: RunContext) -> dict[str, RunContext]:
    """What each candidate of a run works on; one without a name where the pipeline has none."""
    names = context.spec.get("candidates") or {}
    return {str(name): context.of_candidate(str(name)) for name in names} or {"": context}


def _parent(
    settings: Settings, pipeline: Pipeline, key: str, version: DatasetVersion, snapshot: str
) -> tuple[str, str]:
    """The MLflow experiment and the parent run, with the definition as an artifact."""
    from airloom.tracking import runs

    tags = {Tag.DATASET: version.name, Tag.DATASET_COMMIT: version.commit, Tag.SNAPSHOT: snapshot}
    experiment, run = runs.ensure_parent(settings, pipeline.pipeline, key, tags)
    with runs.connection_errors(settings):
        api = runs.client(settings)
        api.log_text(run, json.dumps(full(pipeline), indent=1), DEFINITION)
        api.set_tag(run, Tag.SPEC, digest(pipeline))
    return experiment, run


def _check_overrides(values: dict[str, Any], pipeline: Pipeline, overrides: dict[str, Any]) -> None:
    for name in overrides:
        check_logged("parameter", name)
    every = [checked(values, name) for name in pipeline.candidates] or [pipeline]
    if any(candidate.tune.space_function for candidate in every):
        return  # only the function knows its names
    allowed = sorted({name for candidate in every for name in (*candidate.parameters, *candidate.tune.dimensions)})
    unknown = sorted(set(overrides) - set(allowed))
    if unknown:
        raise ConfigError(f"unknown parameters: {', '.join(unknown)}", f"{pipeline.pipeline} has: {', '.join(allowed)}")
