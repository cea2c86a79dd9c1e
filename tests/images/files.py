"""`docker/Dockerfile` and `docker/compose.yaml`: what a service would be started with, without an engine."""

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).resolve().parents[2]
FOLDER = PROJECT / "docker"
TARGETS = ("airflow", "worker", "server", "mlflow")


@dataclass
class Stage:
    """A stage of the Dockerfile with what it has of the one that it stands on."""

    name: str
    base: str
    instructions: list[tuple[str, str]] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    user: str = ""
    folder: str = ""
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)


def stages() -> dict[str, Stage]:
    """Every stage by its name."""
    found: dict[str, Stage] = {}
    for keyword, rest in instructions():
        if keyword == "FROM":
            base, _, name = rest.partition(" AS ")
            on = found.get(base)
            stage = found[name] = Stage(name, base, env=dict(on.env) if on else {}, user=on.user if on else "")
        elif keyword != "ARG":
            stage.instructions.append((keyword, rest))
            if keyword == "ENV":
                stage.env |= dict(pair.partition("=")[::2] for pair in shlex.split(rest))
            elif keyword == "USER":
                stage.user = rest
            elif keyword == "WORKDIR":
                stage.folder = rest
            elif keyword == "CMD":
                stage.command = json.loads(rest)
            elif keyword == "HEALTHCHECK":
                stage.health = json.loads(rest.partition("CMD ")[2])
    return found


def instructions() -> list[tuple[str, str]]:
    """Keyword and rest of each instruction, its lines joined."""
    text = "\n".join(line for line in (FOLDER / "Dockerfile").read_text().splitlines() if not line.startswith("#"))
    lines = [line.strip() for line in re.sub(r"\\\n\s*", " ", text).splitlines()]
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1].strip()) for line in lines if line]


def compose(variables: dict[str, str] | None = None) -> dict[str, Any]:
    """The compose file; with variables put in as compose does it, where some are given."""
    text = (FOLDER / "compose.yaml").read_text()
    return yaml.safe_load(text if variables is None else interpolate(text, variables))


def interpolate(text: str, variables: dict[str, str]) -> str:
    """`${NAME:?why}`, `${NAME:-default}` and `$$`, the forms that the file has."""

    def value(found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        name, how, rest = found["name"], found["how"], found["rest"]
        if name not in variables and how != ":-":
            raise KeyError(f"{name}: {rest}")
        return variables.get(name) or rest

    return re.sub(r"\$\$|\$\{(?P<name>\w+)(?P<how>:[?-])(?P<rest>[^}]*)\}", value, text)


def variables() -> set[str]:
    """The names of the variables without a default that the file wants."""
    return set(re.findall(r"\$\{(\w+):\?", (FOLDER / "compose.yaml").read_text()))


@dataclass(frozen=True)
class Service:
    """What a container of it would run."""

    name: str
    command: list[str]
    health: list[str]
    environment: dict[str, str]
    needs: list[str]


def services(values: dict[str, str]) -> list[Service]:
    """Those of our images, each after those that it waits for, with what their image says where they say nothing."""
    file, built = compose(values)["services"], stages()
    found: dict[str, Service] = {}

    def take(name: str) -> None:
        entry = file[name]
        needs = list(entry.get("depends_on", {}))
        for other in needs:
            if other not in found and "build" in file[other]:
                take(other)
        stage = built[entry["build"]["target"]]
        own = entry.get("healthcheck", {})
        health = [] if own.get("disable") else own["test"][1:] if own else stage.health
        environment = stage.env | {key: str(value) for key, value in entry["environment"].items()}
        found[name] = Service(name, entry.get("command") or stage.command, health, environment, needs)

    for name, entry in file.items():
        if "build" in entry and name not in found:
            take(name)
    return list(found.values())
