"""The first step: fix what a pipeline run works on. It alone reads the pipeline file."""

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airloom.cache.manifest import declared
from airloom.contracts import DatasetVersion, PretrainedWeights, RunContext, Snapshot
from airloom.errors import ConfigError
from airloom.files import read_json
from airloom.names import check_logged
from airloom.pipeline.steps import tune
from airloom.project.person import caller
from airloom.project.weights import resolved
from airloom.registry import register
from airloom.settings import Settings
from airloom.spec.dataset import DatasetSection
from airloom.spec.load import DEFINITION, checked, digest, full, load_pipeline, read_values
from airloom.spec.monitor import of_alarm
from airloom.spec.pipeline import Pipeline
from airloom.tracking.ending import ending
from airloom.tracking.tags import Tag

ASKED = "definition/asked.json"  # artifact of the pipeline run: version and parameters that it was started with


def resolve(
    settings: Settings,
    file: Path,
    key: str | Callable[[str], str],
    version: int | None = None,
    parameters: dict[str, Any] | None = None,
    *,
    cache: bool = True,
    task: str = "",
    user: str = "",
    cause: str = "",
) -> RunContext:
    """Fix what this run works on: definition, dataset version, snapshot, parent MLflow run, study.

    Args:
        settings: of this installation.
        file: the pipeline file.
        key: names the pipeline run, or makes its name of the pipeline's; the same one always gives the same MLflow run.
        version: dataset version number, None for the newest.
        parameters: override the file's `parameters`, or fix a key of its search space.
        cache: whether steps may take what earlier runs with the same inputs returned.
        task: the id of the task that resolves it, under Airflow.
        user: who wants it; empty for who calls.
        cause: the alarm that started it: its model has to be better than the champion, whatever the gate's margin.

    Raises:
        ConfigError: the file or the parameters are wrong, or another task or cause has resolved a run of this key.
        DataError: there is no such dataset or version.
        MlflowAway: MLflow does not answer.
        RegistryError: see `registry.register.ready`.
    """
    context = fix(settings, file, key, version, parameters, cache=cache, task=task, user=user, cause=cause)
    with ending(settings, context):
        # Here, once: workers that start together would race for the tables, and might not agree on the cache.
        tuned = contexts(context) if checked(context.spec).tune else {}
        studies = {name: tune.prepare(settings, candidate) for name, candidate in tuned.items()}
    return context.with_(studies={name: decision.to_dict() for name, decision in studies.items() if decision})


def fix(
    settings: Settings,
    file: Path,
    key: str | Callable[[str], str],
    version: int | None = None,
    parameters: dict[str, Any] | None = None,
    *,
    cache: bool = True,
    task: str = "",
    user: str = "",
    cause: str = "",
    trains: bool = True,
) -> RunContext:
    """The same without a study; see `resolve`. A run that trains nothing needs no weights to begin with."""
    from airloom.datasets import versions

    values = read_values(file)
    pipeline = checked(values, where=str(file))
    if cause:
        values = of_alarm(values, str(file))
        pipeline = checked(values, where=str(file))
    declared(settings.project, pipeline.files)  # before anything is made: a wrong path is a mistake in the file
    python = pipeline.resources.interpreter or settings.job_python
    weights = resolved(settings.project, pipeline.weights if trains else [], python)
    name = key if isinstance(key, str) else key(pipeline.pipeline)
    overrides = dict(parameters or {})
    _check_overrides(values, pipeline, overrides)
    register.ready(settings, settings.registered(pipeline.pipeline))
    dataset = pipeline.dataset
    read = versions.latest(settings, dataset.name) if version is None else versions.get(settings, dataset.name, version)
    prepared = snapshot_of(settings, dataset, read)
    experiment, run = _parent(settings, pipeline, name, read, prepared.id, overrides, task, user, cause)
    if trains:
        _same_weights(settings, run, name, weights)
    return RunContext(pipeline.pipeline, values, name, run, experiment, prepared, overrides, cache, weights=weights)


def snapshot_of(settings: Settings, dataset: DatasetSection, version: DatasetVersion) -> Snapshot:
    """What a pipeline reads of a version.

    Raises:
        ConfigError: the split is none, or `since` is no earlier version.
        DataError: no row is chosen; or of a published split a row names no part, or a part has no row.
    """
    from airloom.datasets.snapshots import snapshot

    return snapshot.make(settings, snapshot_asked(settings, dataset, version))


def snapshot_asked(settings: Settings, dataset: DatasetSection, version: DatasetVersion) -> Snapshot:
    """The same without its rows: no data are read.

    Raises:
        ConfigError: the split is none, or `since` is no earlier version.
    """
    from airloom.datasets.snapshots import snapshot

    # Left out, it is None: the dataset may declare a published split.
    said = dataset.model_dump(mode="json", include={"split"}, exclude_unset=True)
    split = snapshot.split_of(said.get("split"))
    return snapshot.ask(settings, version, split, since=dataset.since, tags=dataset.tags)


@dataclass(frozen=True)
class Asked:
    """What a run was started with.

    Attributes:
        version: number of the dataset version.
        parameters: that override the file's.
    """

    version: int
    parameters: dict[str, Any]

    def same(self, key: str, version: int | None, parameters: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """The run's own version and parameters, where what is given now does not differ from them.

        Raises:
            ConfigError: it does: what its steps have returned would belong to something else.
        """
        hint = "leave it out to go on with the run, or start a new one without --key"
        if version is not None and version != self.version:
            raise ConfigError(f"run {key} works on version {self.version}, not on {version}", hint)
        for name, value in parameters.items():
            own = f"has {name}={self.parameters[name]!r}" if name in self.parameters else f"was started without {name}"
            if name not in self.parameters or self.parameters[name] != value:
                raise ConfigError(f"run {key} {own}, not with {name}={value!r}", hint)
        return self.version, self.parameters


def asked(settings: Settings, file: Path, key: str) -> Asked | None:
    """What the run of this key was started with; None where there is none yet, or an earlier release started it.

    Raises:
        ConfigError: the pipeline file is wrong.
        MlflowAway: MLflow does not answer.
    """
    from mlflow.exceptions import MlflowException

    from airloom.tracking import runs

    api = runs.client(settings)
    with runs.connection_errors(settings):
        experiment = api.get_experiment_by_name(runs.experiment_name(settings, load_pipeline(file).pipeline))
        run = runs.find_run(api, experiment.experiment_id, key) if experiment else None
        if run is None:
            return None
        with tempfile.TemporaryDirectory(prefix="airloom-asked-") as folder:
            try:
                path = Path(api.download_artifacts(run.info.run_id, ASKED, folder))
            except (MlflowException, OSError):
                return None
            values = read_json(path, f"start a new run; {key} cannot go on") or {}
    return Asked(int(values["version"]), dict(values["parameters"]))


def contexts(context: RunContext) -> dict[str, RunContext]:
    """What each candidate of a run works on; one without a name where the pipeline has none."""
    names = context.spec.get("candidates") or {}
    return {str(name): context.of_candidate(str(name)) for name in names} or {"": context}


def _parent(
    settings: Settings,
    pipeline: Pipeline,
    key: str,
    version: DatasetVersion,
    snapshot: str,
    overrides: dict[str, Any],
    task: str,
    user: str,
    cause: str,
) -> tuple[str, str]:
    """The MLflow experiment and the parent run, with the definition and what was asked for as artifacts."""
    from airloom.tracking import runs

    tags = {Tag.DATASET: version.name, Tag.DATASET_COMMIT: version.commit, Tag.SNAPSHOT: snapshot}
    tags |= {Tag.RESOLVED_BY: task} if task else {}
    tags |= {Tag.CAUSE: cause} if cause else {}
    tags |= {Tag.USER: user or caller(settings).name}
    experiment, run = runs.ensure_parent(settings, pipeline.pipeline, key, tags)
    with runs.connection_errors(settings):
        api = runs.client(settings)
        known = api.get_run(run).data
        if (before := known.tags.get(Tag.CAUSE, "")) != cause:
            message = f"run {key} was started by {before or 'no alarm'}, not by {cause or 'none'}"
            raise ConfigError(
                message, "its gate would have another rule: start a new run, or leave the cause as it was"
            )
        other = known.tags.get(Tag.RESOLVED_BY, task)
        if task and other != task:
            message = f"the tasks {other} and {task} of one DAG run both resolve pipeline {pipeline.pipeline} as {key}"
            hint = "they would share study, jobs and models: map one task over the parameters, or name two pipelines"
            raise ConfigError(message, hint)
        api.log_text(run, json.dumps(full(pipeline), indent=1), DEFINITION)
        api.log_text(run, json.dumps({"version": version.number, "parameters": overrides}, indent=1), ASKED)
        api.set_tag(run, Tag.SPEC, digest(pipeline))
        # What a study or a candidate adds stands on its own run; without these, runs would look alike in MLflow.
        asked_for = {**pipeline.parameters, **overrides}
        runs.log_parameters(api, run, {name: value for name, value in asked_for.items() if name not in known.params})
    return experiment, run


def _same_weights(settings: Settings, run: str, key: str, weights: dict[str, PretrainedWeights]) -> None:
    """Note on a run the weights that its trainings begin with; who goes on with it has the same ones.

    Raises:
        ConfigError: they are others now.
    """
    from airloom.tracking import runs

    digests = {name: one.sha256 for name, one in weights.items()}
    with runs.connection_errors(settings):
        api = runs.client(settings)
        before = json.loads(api.get_run(run).data.tags.get(Tag.PRETRAINED, "{}"))
        for name, one in before.items():
            if digests.get(name) != one["sha256"]:
                now = f"not with {digests[name][:12]}" if name in digests else "and the pipeline file names none"
                message = f"run {key} began with weights {name} of sha256 {one['sha256'][:12]}, {now}"
                raise ConfigError(message, "put the file back, or start a new run: other weights are another run")
        if weights and not before:
            noted = {name: one.short for name, one in weights.items()}
            api.set_tag(run, Tag.PRETRAINED, json.dumps(noted))


def _check_overrides(values: dict[str, Any], pipeline: Pipeline, overrides: dict[str, Any]) -> None:
    for name in overrides:
        check_logged("parameter", name)
    every = [checked(values, name) for name in pipeline.candidates] or [pipeline]
    if any(candidate.tune and candidate.tune.space_function for candidate in every):
        return  # only the function knows its names
    allowed = sorted({name for candidate in every for name in (*candidate.parameters, *candidate.dimensions)})
    unknown = sorted(set(overrides) - set(allowed))
    if unknown:
        hint = f"{pipeline.pipeline} has: {', '.join(allowed) or 'none; name them in its `parameters`'}"
        raise ConfigError(f"unknown parameters: {', '.join(unknown)}", hint)
