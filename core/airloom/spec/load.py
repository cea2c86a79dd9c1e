"""Read a pipeline file; a mistake names the file, the key and what is allowed."""

import difflib
import hashlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from airloom.contracts import RunContext
from airloom.errors import ConfigError
from airloom.spec import candidates, yaml_text
from airloom.spec.pipeline import Pipeline

DEFINITION = "definition/pipeline.json"  # artifact of the pipeline run: the definition with every default in it
LEFT_OUT = ("tune", "gate", "deploy")  # steps that do not run where a file has no such key
_ABSENT = (*LEFT_OUT, "log", "monitor")  # sections without which a file means what it meant before there were any
_WITHOUT = {"log": "nothing of the inputs is kept", "monitor": "nobody watches the champion"}
_DEEPEST = 20  # levels of nesting; no key of a pipeline file stands deeper


def load_pipeline(path: Path, candidate: str = "") -> Pipeline:
    """Parse and check a pipeline file.

    Args:
        path: the file.
        candidate: the name of one of its candidates, whose pipeline is wanted.

    Raises:
        ConfigError: the file is missing, no YAML, or breaks the schema.
    """
    return checked(read_values(path), candidate, str(path))


def definition(ctx: RunContext) -> Pipeline:
    """The pipeline of a run, or of its candidate, as `resolve` fixed it."""
    return checked(ctx.spec, ctx.candidate, f"the definition of run {ctx.key}")


def checked(values: dict[str, Any], candidate: str = "", where: str = "the pipeline") -> Pipeline:
    """Check the values of a pipeline file, for each of its candidates.

    Args:
        values: as `read_values` gives them.
        candidate: whose pipeline to return; else the file's, with `train` and space of the first candidate.
        where: what the values come from, for messages.

    Raises:
        ConfigError: they break the schema, or there is no such candidate.
    """
    if candidate:
        return _validated(where, candidates.values_of(values, candidate))
    names = candidates.names(values)
    for name in names:
        _validated(where, candidates.values_of(values, name), f"candidates.{name}: ")
    if not names:
        return _validated(where, values)
    if "train" in values or "command" in values:
        hint = "move `train` or `command` into a candidate"
        raise ConfigError(f"{where}: a pipeline with candidates trains these, and nothing else", hint)
    first = candidates.values_of(values, names[0])
    return _validated(where, first | {"candidates": values["candidates"]})


def read_values(path: Path) -> dict[str, Any]:
    """The values of a pipeline file, unchecked, as JSON has them.

    Raises:
        ConfigError: the file is missing, no YAML, or holds what JSON cannot: a date, infinity, NaN.
    """
    values = _read(path)
    for key, value in _numbers(values):
        if not math.isfinite(value):
            raise ConfigError(f"{path}: {key}: {value} is no finite number", "give a number")
    try:
        return dict(json.loads(json.dumps(values)))
    except (TypeError, ValueError) as error:  # a date, a set, a list that holds itself
        raise ConfigError(f"{path}: {error}", "write the value in quotes, as text") from None


def _numbers(values: Any, key: str = "", depth: int = 0) -> Iterator[tuple[str, float]]:
    """Each number with a point, by its dotted key; what is nested so deep that it may hold itself is left to JSON."""
    if isinstance(values, float):
        yield key, values
    parts = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    for name, value in parts if depth < _DEEPEST else ():
        yield from _numbers(value, f"{key}.{name}".strip("."), depth + 1)


def digest(pipeline: Pipeline) -> str:
    """sha256 of a definition with every default in it, the same whatever the file looked like."""
    return hashlib.sha256(json.dumps(full(pipeline), sort_keys=True).encode()).hexdigest()


def full(pipeline: Pipeline) -> dict[str, Any]:
    """A definition with every default in it, as JSON; a step that the file leaves out is left out here too."""
    left_out = {name for name in _ABSENT if getattr(pipeline, name) is None}
    return pipeline.model_dump(mode="json", by_alias=True, exclude=left_out)


def _read(path: Path) -> dict[str, Any]:
    try:
        values = yaml_text.read(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"there is no pipeline file {path}", _others(path)) from None
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path}: not readable as YAML: {str(error)[:300]}", "mend the file") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: holds no mapping of keys", "`airloom pipeline schema` prints what belongs there")
    return values


def _validated(source: str, values: dict[str, Any], where: str = "") -> Pipeline:
    for key in _ABSENT:
        if values.get(key, key) is None:
            without = _WITHOUT.get(key, "the step does not run")
            hint = f"leave it out, and {without}; or write the section"
            raise ConfigError(f"{source}: {where}{key}: the key stands there without a value", hint)
    try:
        return Pipeline.model_validate(values)
    except ValidationError as error:
        lines = [f"{source}: {where}{_explain(problem)}" for problem in error.errors()]
        raise ConfigError("\n".join(lines), "`airloom pipeline schema` prints every key with its values") from None


def find_pipelines(project: Path) -> list[Path]:
    """The pipeline files of a project, sorted by name."""
    return pipeline_files(project / "configs" / "pipelines")


def pipeline_files(folder: Path) -> list[Path]:
    """The pipeline files of a folder, sorted by name."""
    return sorted(folder.glob("*.yaml"))


def _others(path: Path) -> str:
    near = sorted(p.name for p in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
    return f"in {path.parent} are: {', '.join(near)}" if near else "check the path"


def _explain(problem: Any) -> str:
    """One line for one pydantic error: key, message, the value, and the allowed keys where one is unknown."""
    location = [str(part) for part in problem["loc"]]
    if location[:2] == ["dataset", "split"] and location[2:3] in (["shares"], ["column"], ["tags"]):
        del location[2]  # pydantic names the kind of split there, which is no key
    if location[:1] == ["inputs"] and location[2:3] in (["file"], ["weights"]):
        del location[2]  # the same
    key, message = ".".join(location), problem["msg"].removeprefix("Value error, ")
    if not key:  # about several keys, which it names
        return str(message)
    if problem["type"] == "string_pattern_mismatch":  # a pattern teaches nobody
        message = f"does not fit: {_described(location)}"
    if problem["type"] != "extra_forbidden":
        return f"{key}: {message} (got {str(problem['input'])[:120]!r})"
    allowed = _keys_at(location[:-1])
    close = difflib.get_close_matches(location[-1], allowed, 1)
    guess = f"; did you mean {close[0]!r}?" if close else ""
    return f"{key}: unknown key{guess} (allowed: {', '.join(allowed)})"


def _described(location: list[str]) -> str:
    """The sentence of a key, as the reference has it."""
    fields = {field.alias or name: field for name, field in _section(location[:-1]).model_fields.items()}
    described = fields[location[-1]].description if location[-1] in fields else ""
    return described or "of another form"


def _keys_at(location: list[str]) -> list[str]:
    return sorted(f.alias or name for name, f in _section(location).model_fields.items())


def _section(location: list[str]) -> Any:
    model: Any = Pipeline
    for part in location:
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        model = next((t for t in _types(annotation) if issubclass(t, BaseModel)), model)
    return model


def _types(annotation: Any) -> list[type]:
    """The classes that an annotation names, those within lists and unions too."""
    parts = [found for part in get_args(annotation) for found in _types(part)]
    return [annotation, *parts] if isinstance(annotation, type) and not get_origin(annotation) else parts
