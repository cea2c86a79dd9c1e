"""What a step reads, all of it: two runs of a step with the same manifest would do the same."""

import hashlib
import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airloom.contracts import Record, RunContext, Snapshot
from airloom.errors import ConfigError
from airloom.project import source
from airloom.project.packages import lock
from airloom.settings import Settings
from airloom.spec.pipeline import Pipeline

_NOT_READ = {"workers", "share", "failures", "warm_start"}  # who does the trials, not which
_SHARED = ("devices", "processes", "threads")


@dataclass(frozen=True)
class Manifest(Record):
    """The inputs of a step, each kind by name.

    Attributes:
        snapshot: dataset, version (number and content id), split, since, tags.
        code: sha256 by path.
        inputs: the same, of declared files.
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
        return {name: _digest(value)[:16] for name, value in values.items()}

    @property
    def key(self) -> str:
        """The digest of everything."""
        return _digest(self.parts)


def of_tune(settings: Settings, pipeline: Pipeline, ctx: RunContext) -> Manifest:
    """What a study reads."""
    tune = pipeline.tune.model_dump(mode="json", by_alias=True, exclude=_NOT_READ)
    files = _training_code(settings, pipeline)
    if pipeline.tune.space_function:
        files |= _function_code(settings, pipeline.tune.space_function)
    return Manifest(
        _snapshot(ctx.snapshot),
        files,
        declared(settings.project, pipeline.inputs),
        {**pipeline.parameters, **ctx.parameters},
        _read(pipeline) | _flat(tune, "tune"),
        lock(settings.project, pipeline.resources.interpreter),
        {},
    )


def files_of(settings: Settings, pipeline: Pipeline) -> list[str]:
    """The project's files that a training is known to read, by path from its root."""
    return [*_training_code(settings, pipeline), *declared(settings.project, pipeline.inputs)]


def of_train(settings: Settings, pipeline: Pipeline, ctx: RunContext, best: dict[str, Any]) -> Manifest:
    """What the final training reads; `best` are the parameters that the study chose."""
    return Manifest(
        _snapshot(ctx.snapshot),
        _training_code(settings, pipeline),
        declared(settings.project, pipeline.inputs),
        {**pipeline.parameters, **best, **ctx.parameters},
        _read(pipeline) | _flat(pipeline.stop.model_dump(mode="json"), "stop"),
        lock(settings.project, pipeline.resources.interpreter),
        {},
    )


def of_evaluation(
    settings: Settings, pipeline: Pipeline, ctx: RunContext, models: dict[str, dict[str, Any]], champion: str
) -> Manifest:
    """What an evaluation reads: the candidates' files, the champion, the test split, and how it looks at them."""
    metric = {"gate.against_champion.metric": pipeline.gate.against_champion.metric}
    threads = {"resources.threads": pipeline.resources.threads}
    slices = _flat(pipeline.evaluate.model_dump(mode="json", exclude_defaults=True), "evaluate")
    candidates = {
        f"model {name}".strip(): f"{m['model_uri']} {_digest(m['digests'])[:16]}" for name, m in models.items()
    }
    return Manifest(
        _snapshot(ctx.snapshot),
        {},
        {},
        {},
        metric | threads | slices,
        lock(settings.project, pipeline.resources.interpreter),
        candidates | {"champion": champion or "none"},
    )


def declared(project: Path, inputs: list[str]) -> dict[str, str]:
    """sha256 by path of the files that `inputs` names: files, folders, or patterns, from the project's root.

    Raises:
        ConfigError: one names nothing, or leads out of the project.
    """
    root, found = project.resolve(), {}
    for name in inputs:
        places = [root / name] if (root / name).exists() else list(root.glob(name))
        files = [file for place in places for file in (place.rglob("*") if place.is_dir() else [place])]
        if not (files := [file for file in files if file.is_file()]):
            raise ConfigError(f"inputs: there is no file {name!r} in {root}", "the path counts from the project's root")
        for file in files:
            if not file.resolve().is_relative_to(root):
                raise ConfigError(f"inputs: {name!r} leads out of the project to {file.resolve()}", "copy it in")
            found[file.relative_to(root).as_posix()] = source.digest(file)
    return dict(sorted(found.items()))


def _snapshot(snapshot: Snapshot) -> dict[str, Any]:
    names = ("dataset", "version", "version_id", "split", "since", "tags")
    return {name: getattr(snapshot, name) for name in names}


def _read(pipeline: Pipeline) -> dict[str, Any]:
    shared = {f"resources.{name}": getattr(pipeline.resources, name) for name in _SHARED}
    return {"train": pipeline.trains, "seed": pipeline.seed} | shared


def _training_code(settings: Settings, pipeline: Pipeline) -> dict[str, str]:
    if not pipeline.command:
        return _function_code(settings, pipeline.train)
    # Every word of a command that is a file of the project: the script, and what it is given.
    words = shlex.split(pipeline.command) if isinstance(pipeline.command, str) else pipeline.command
    root, files = settings.project.resolve(), dict[str, str]()
    for word in words:
        path = (root / word).resolve()
        if path.is_file() and source.in_project(root, path):
            files |= source.digests(root, path)
    return files


def _function_code(settings: Settings, reference: str) -> dict[str, str]:
    place, root = reference.partition(":")[0], settings.project.resolve()
    if place.endswith(".py"):
        path = (root / place).resolve()
        return source.digests(root, path) if path.is_file() and path.is_relative_to(root) else {}
    return {name: sum_ for path in source.of_module(root, place) for name, sum_ in source.digests(root, path).items()}


def _flat(values: Any, prefix: str) -> dict[str, Any]:
    if not isinstance(values, dict):
        return {prefix: values}
    return {name: v for key, value in values.items() for name, v in _flat(value, f"{prefix}.{key}").items()}


def _digest(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
