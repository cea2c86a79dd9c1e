"""What a step reads, all of it: two runs of a step with the same manifest would do the same."""

import hashlib
import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airloom.contracts import Record, RunContext, Snapshot
from airloom.errors import ConfigError
from airloom.files import file_sha256
from airloom.project import source
from airloom.project.packages import lock
from airloom.settings import Settings
from airloom.spec.load import definition
from airloom.spec.pipeline import Pipeline

_SHARED = ("devices", "processes", "threads")


@dataclass(frozen=True)
class StepManifest(Record):
    """The inputs of a step, each kind by name.

    Attributes:
        snapshot: dataset, version (number and content id), split, since, tags.
        code: sha256 by path.
        inputs: the same, of declared files, and of pretrained weights with their name before the path.
        parameters: values.
        pipeline: those parts of the pipeline file that the step reads, flat.
        lock: versions by distribution.
        other: what only some steps read: the candidates, the champion.
    """

    snapshot: dict[str, Any]
    code: dict[str, str]
    inputs: dict[str, str]
    parameters: dict[str, Any]
    pipeline: dict[str, Any]
    lock: dict[str, str]
    other: dict[str, str]

    @property
    def parts(self) -> dict[str, str]:
        """A short digest of each kind. The number of a version is a name, its content id decides."""
        values = self.to_dict()
        values["snapshot"] = {name: value for name, value in self.snapshot.items() if name != "version"}
        return {name: digest_of(value)[:16] for name, value in values.items()}

    @property
    def key(self) -> str:
        """The digest of everything."""
        return digest_of(self.parts)


Reading = StepManifest | list[str]  # what a step reads, or the reasons why no earlier result can be taken


def of_training(
    settings: Settings, ctx: RunContext, parameters: dict[str, Any], read: dict[str, Any], code: dict[str, str]
) -> StepManifest:
    """What anything reads that trains.

    Args:
        settings: of this installation.
        ctx: of the pipeline run, or of one of its candidates.
        parameters: over the file's; the overrides of the run go over both.
        read: the parts of the pipeline file that only this step reads, flat.
        code: sha256 by path of files beside the training's own.
    """
    pipeline = definition(ctx)
    shared = {f"resources.{name}": getattr(pipeline.resources, name) for name in _SHARED}
    if pipeline.task:  # the model keeps its name
        read = read | {"task": pipeline.task}
        code = code | (function_code(settings, pipeline.task) if pipeline.own_task else {})
    return StepManifest(
        read_snapshot(ctx.snapshot),
        training_code(settings, pipeline) | code,
        declared(settings.project, pipeline.files) | weights_read(ctx),
        {**pipeline.parameters, **parameters, **ctx.parameters},
        {"train": pipeline.trains, "seed": pipeline.seed} | shared | read,
        lock(settings.project, pipeline.resources.interpreter or settings.job_python),
        {},
    )


def files_of(settings: Settings, pipeline: Pipeline) -> list[str]:
    """The project's files that a training is known to read, by path from its root."""
    return [*training_code(settings, pipeline), *declared(settings.project, pipeline.files)]


def declared(project: Path, inputs: list[str]) -> dict[str, str]:
    """sha256 by path of the files that `inputs` names: files, folders, or patterns, from the project's root.

    Raises:
        ConfigError: one names nothing, or leads out of the project.
    """
    root, digests = project.resolve(), {}
    for name in inputs:
        places = [root / name] if (root / name).exists() else list(root.glob(name))
        files = [file for place in places for file in (place.rglob("*") if place.is_dir() else [place])]
        if not (files := [file for file in files if file.is_file()]):
            raise ConfigError(f"inputs: there is no file {name!r} in {root}", "the path counts from the project's root")
        for file in files:
            if not file.resolve().is_relative_to(root):
                raise ConfigError(f"inputs: {name!r} leads out of the project to {file.resolve()}", "copy it in")
            digests[file.relative_to(root).as_posix()] = file_sha256(file)
    return dict(sorted(digests.items()))


def weights_read(ctx: RunContext) -> dict[str, str]:
    """sha256 by name and path of the pretrained weights, as `resolve` fixed them."""
    return {f"weights {name}: {file}": sum_ for name, one in ctx.weights.items() for file, sum_ in one.files.items()}


def read_snapshot(snapshot: Snapshot) -> dict[str, Any]:
    """What of a snapshot decides a result."""
    names = ("dataset", "version", "version_id", "split", "since", "tags")
    return {name: getattr(snapshot, name) for name in names} | ({"by": snapshot.by} if snapshot.by else {})


def training_code(settings: Settings, pipeline: Pipeline) -> dict[str, str]:
    """sha256 by path of the project's files that the training function or command stands on."""
    if not pipeline.command:
        return function_code(settings, pipeline.train)
    # Every word of a command that is a file of the project: the script, and what it is given.
    words = shlex.split(pipeline.command) if isinstance(pipeline.command, str) else pipeline.command
    root, files = settings.project.resolve(), dict[str, str]()
    for word in words:
        path = (root / word).resolve()
        if path.is_file() and source.in_project(root, path):
            files |= source.digests(root, path)
    return files


def function_code(settings: Settings, reference: str) -> dict[str, str]:
    """The same for one function, `path.py:name` or `module:name`."""
    place, root = reference.partition(":")[0], settings.project.resolve()
    if place.endswith(".py"):
        path = (root / place).resolve()
        return source.digests(root, path) if path.is_file() and path.is_relative_to(root) else {}
    return {name: sum_ for path in source.of_module(root, place) for name, sum_ in source.digests(root, path).items()}


def flat(values: Any, prefix: str) -> dict[str, Any]:
    """Nested values by dotted name."""
    if not isinstance(values, dict):
        return {prefix: values}
    return {name: v for key, value in values.items() for name, v in flat(value, f"{prefix}.{key}").items()}


def digest_of(values: Any) -> str:
    """sha256 of plain values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
