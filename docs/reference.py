"""Write docs/reference/ from what the program itself knows: `make reference`. A test holds the pages to it."""

import inspect
import json
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from types import FunctionType
from typing import Any

import click
import typer.main
import yaml

from airloom import interactive, project_file
from airloom.cli.main import app
from airloom.spec.pipeline import Pipeline

FOLDER = Path(__file__).resolve().parent / "reference"
EXAMPLES = Path(__file__).resolve().parents[1] / "configs" / "pipelines" / "digits.yaml"


def pages() -> dict[str, str]:
    """The text of each page by the name of its file."""
    pages = {"pipeline.md": pipeline_page(), "settings.md": settings_page(), "commands.md": commands_page()}
    return pages | {"python.md": python_page()}


def pipeline_page() -> str:
    """Every key of a pipeline file."""
    schema = Pipeline.model_json_schema()
    lines = [
        "# Keys of a pipeline file",
        "",
        "`configs/pipelines/<name>.yaml`; `airloom pipeline check <name>` checks it, `airloom pipeline schema` prints",
        "this as JSON schema. A time is a number of seconds, or `90s`, `10m`, `2h`, `1d`.",
        "",
        "```yaml",
        EXAMPLES.read_text(encoding="utf-8").strip(),
        "```",
    ]
    for title, section in _sections(schema, "", schema):
        lines += [
            "",
            f"## {title or 'The file'}",
            "",
            *_sentence(section),
            "| key | | default | |",
            "|---|---|---|---|",
        ]
        required = section.get("required", [])
        for name, key in section.get("properties", {}).items():
            default = "needed" if name in required else _default(key, schema)
            lines.append(f"| `{name}` | {_type(key, schema)} | {default} | {_cell(_says(key, schema))} |")
    return "\n".join(lines) + "\n"


def _sections(part: dict[str, Any], title: str, schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """A section and those below it, each once, in the order in which the file has them."""
    yield title, part
    for name, key in part.get("properties", {}).items():
        for reference, suffix in _references(key):
            yield from _sections(schema["$defs"][reference], f"{title}.{name}".strip(".") + suffix, schema)


def _references(key: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The sections that a key holds: itself, one of a choice, in a list (`[]`) or by name (`.<name>`)."""
    if "$ref" in key:
        yield key["$ref"].rpartition("/")[2], ""
    for choice in _choices(key):
        yield from _references(choice)
    if isinstance(key.get("items"), dict):
        yield from ((name, "[]" + rest) for name, rest in _references(key["items"]))
    if isinstance(key.get("additionalProperties"), dict):
        yield from ((name, ".<name>" + rest) for name, rest in _references(key["additionalProperties"]))


def _choices(key: dict[str, Any]) -> list[dict[str, Any]]:
    """What a value may be; one with a default, such as the split, is told by that."""
    return list(key.get("anyOf") or ([] if "default" in key else key.get("oneOf", [])))


def _sentence(section: dict[str, Any]) -> list[str]:
    return [section["description"].split("\n\n")[0].replace("\n", " "), ""] if "description" in section else []


def _says(key: dict[str, Any], schema: dict[str, Any]) -> str:
    for part in (key, *(schema["$defs"][name] for name, _ in _references(key))):
        if "description" in part:
            return str(part["description"])
    raise LookupError(f"a key without a description: {key}")


def _type(key: dict[str, Any], schema: dict[str, Any]) -> str:
    if "enum" in key:
        return ", ".join(f"`{value}`" for value in key["enum"])
    if "$ref" in key:
        return "section" if "properties" in schema["$defs"][key["$ref"].rpartition("/")[2]] else "text"
    if choices := _choices(key):
        return " or ".join(dict.fromkeys(_type(one, schema) for one in choices if one.get("type") != "null"))
    names = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
    if key.get("type") == "array":
        return f"list of {_type(key['items'], schema)}" if isinstance(key.get("items"), dict) else "[low, high]"
    if key.get("type") == "object":
        values = key.get("additionalProperties")
        return f"by name: {_type(values, schema)}" if isinstance(values, dict) and values else "by name"
    return names.get(str(key.get("type")), "value")


def _default(key: dict[str, Any], schema: dict[str, Any]) -> str:
    default = key.get("default")
    if default in (None, "", [], {}) or any("properties" in schema["$defs"][name] for name, _ in _references(key)):
        return ""
    return f"`{yaml.safe_dump(default, default_flow_style=True, sort_keys=False).strip().removesuffix('...').strip()}`"


def settings_page() -> str:
    """Every key of `airloom.toml`, and every variable."""
    lines = [
        "# Settings",
        "",
        "`airloom.toml` marks the root of a project; `airloom` looks for it upward from the working folder. Its keys",
        "are the settings below. A variable `AIRLOOM_<KEY>` of the environment wins over it, and under Airflow",
        "[a connection](../how-to/own-airflow.md#connections) over both. Relative paths count from the project's root,",
        "those of a variable from the working folder.",
        "",
        "| key | variable | | example |",
        "|---|---|---|---|",
    ]
    for name, key in project_file.KEYS.items():
        lines.append(f"| `{name}` | `AIRLOOM_{name.upper()}` | {_cell(key.says)} | `{name} = {key.example}` |")
    for name, says in project_file.PERSONAL.items():
        lines.append(f"| | `AIRLOOM_{name.upper()}` | {_cell(says)} | |")
    lines.append("| | `AIRLOOM_PROJECT` | the project's root, where it is not to be searched for | |")
    lines += [
        "",
        "Secrets stand in the environment only; a file that has one is refused:",
        "",
        "| variable | |",
        "|---|---|",
    ]
    lines += [f"| `AIRLOOM_{name.upper()}` | {says} |" for name, says in project_file.SECRETS.items()]
    return "\n".join(lines) + "\n"


def commands_page() -> str:
    """Every command with its arguments and options."""
    lines = ["# Commands", "", "Each has `--help`. Errors go to standard error; the exit status is 1 then."]
    for name, command in _commands(typer.main.get_command(app), "airloom"):
        lines += ["", f"## {name}", "", (command.help or "").strip().replace("\n\n    ", "\n\n"), ""]
        rows = [row for parameter in command.params if (row := _parameter(parameter))]
        lines += ["| | |", "|---|---|", *rows] if rows else []
    return "\n".join(line.rstrip() for line in lines).replace("\n\n\n", "\n\n").rstrip() + "\n"


def _commands(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    children = getattr(command, "commands", {})
    if not children:
        yield name, command
    for child, below in sorted(children.items()):
        yield from _commands(below, f"{name} {child}")


def _parameter(parameter: Any) -> str:
    if parameter.name == "help":
        return ""
    says = _cell(getattr(parameter, "help", "") or "")
    if parameter.param_type_name == "argument":
        return f"| `{(parameter.name or '').rstrip('_').upper()}` | {says} |"
    names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    default = parameter.default
    shown = default not in (None, "", False, [], ()) and not callable(default)
    return f"| {names} | {says}{f' Default: `{json.dumps(default, default=str)}`.' if shown else ''} |"


def python_page() -> str:
    """What `import airloom` offers: each function with its docstring, each class with what it has."""
    lines = [
        "# Python",
        "",
        "`import airloom`, in a notebook or a program; it loads nothing else before something is asked for. What is",
        "wrong is raised as an `airloom.errors.AirloomError`, whose text says what to do.",
    ]
    offered = {name: getattr(interactive, name) for name in interactive.__all__}
    for name, function in offered.items():
        if inspect.isfunction(function):
            lines += ["", f"## airloom.{name}", *_whole(name, function)]
    for name, kind in offered.items():
        if inspect.isclass(kind):
            lines += ["", f"## {name}", *_class(kind)]
    return "\n".join(lines) + "\n"


def _class(kind: type) -> Iterator[str]:
    """A class by its attributes and methods; those that take arguments with all that is said of them."""
    if members := list(_members(kind)):
        yield from ("", _cell(_first(kind)), "", "| | |", "|---|---|")
        yield from (f"| `{_cell(shown)}` | {_cell(_first(member))} |" for shown, member in members)
    else:
        yield from ("", "```text", inspect.getdoc(kind) or "", "```")
    for _, member in members:
        if "Args:" in (member.__doc__ or ""):
            yield from _whole(member.__name__, member)


def _whole(name: str, function: Any) -> Iterator[str]:
    yield from ("", "```text", f"{name}{_signature(function)}", "", (inspect.getdoc(function) or "").strip(), "```")


def _members(kind: type) -> Iterator[tuple[str, Any]]:
    """Public properties and methods of a class's own, in the order of the source."""
    for name, member in vars(kind).items():
        if name.startswith("_") or not isinstance(member, property | cached_property | FunctionType):
            continue
        yield (f"{name}{_signature(member)}" if inspect.isfunction(member) else name), member


def _signature(function: Any) -> str:
    signature = inspect.signature(function)
    parameters = [one for one in signature.parameters.values() if one.name != "self"]
    text = re.sub(r"(: |-> )'([^']+)'", r"\1\2", str(signature.replace(parameters=parameters)))
    return text.replace("collections.abc.", "").replace("typing.", "").replace("<built-in function print>", "print")


def _first(member: Any) -> str:
    return (inspect.getdoc(member) or "").split("\n\n")[0]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for file, text in pages().items():
        (FOLDER / file).write_text(text, encoding="utf-8")
