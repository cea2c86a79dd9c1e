"""A project of one's own, from nothing: `python -m benchmarks.project [TEMPLATE ...]`, all templates when left out.

The wheel is built and installed into a fresh environment of each role (`install_<role>_s`, `install_<role>_mb`; pip's
cache as it is, so a second run finds it warm). With the environment that has all, each template is played as its README
says: `first_answer_s` is from `airloom init` to an answer of the model server, `first_run_s` its `airloom run` alone.
The figures are those of the slowest template.
"""

import csv
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from airloom.project.scaffold import KINDS
from benchmarks import _roles
from benchmarks._report import Report, Target

SECONDS = 120  # for the server to load the model


def main(templates: list[str]) -> int:
    """Measure and report; 1 when a target is missed."""
    if unknown := set(templates) - set(KINDS):
        print(f"no template {', '.join(sorted(unknown))}; there are: {', '.join(KINDS)}", file=sys.stderr)
        return 2
    targets: dict[str, Target | None] = {"first_answer_s": ("<=", 300), "first_run_s": ("<=", 90)}
    targets |= {f"install_{role}_{unit}": None for role in _roles.ROLES for unit in ("s", "mb")}
    report = Report("project", targets)
    with tempfile.TemporaryDirectory(prefix="airloom-bench-") as folder:
        file = _roles.wheel(Path(folder))
        for role, extras in _roles.ROLES.items():
            environment = _roles.install(file, extras, Path(folder) / role)
            report.add(f"install_{role}_s", [environment.seconds])
            report.add(f"install_{role}_mb", [environment.megabytes])
            print(f"{role:10} {environment.seconds:6.1f} s  {environment.megabytes:7.0f} MB", flush=True)
        played = {name: play(environment, Path(folder), name) for name in templates or KINDS}  # the last has all roles
    for key in ("first_answer_s", "first_run_s"):
        report.add(key, [max(seconds[key] for seconds in played.values())])
    report.note(templates=played)
    return report.finish()


def play(environment: _roles.Installed, folder: Path, template: str) -> dict[str, float]:
    """Seconds of a template's steps, from `init` to an answer; its stack is down again afterwards."""
    project = folder / f"{template}_shop"
    began = time.monotonic()
    environment.run("-m", "airloom", "init", project.name, "--template", template, folder=folder)

    def airloom(*words: str) -> str:
        return environment.run("-m", "airloom", *words, folder=project)

    kind = KINDS[template]
    environment.run("-m", f"{project.name}.data", folder=project)
    airloom("dataset", "create", project.name, f"data/{kind.data}", *kind.options, "-m", "first rows")
    asked = time.monotonic()
    airloom("run", project.name)
    ran = time.monotonic()
    try:
        stack = json.loads(airloom("up", "--json"))
        up = time.monotonic()
        answer = _answer(stack, project.name, _instance(template, project / "data" / kind.data))
        answered = time.monotonic()
    finally:
        airloom("down")
    print(f"{template:10} answered {answer} {answered - began:.1f} s after init; run {ran - asked:.1f} s", flush=True)
    return {
        "first_answer_s": answered - began,
        "first_run_s": ran - asked,
        "up_s": up - ran,
    }


def _instance(template: str, data: Path) -> Any:
    if template == "text":
        return "hello, my kettle is broken"
    if template == "image":
        return [[[0.0] * 8] * 8]
    with data.open(newline="") as file:
        row = list(csv.reader(file))[1]
    return [float(value) for value in row[:-1]]  # the label is the last column


def _answer(stack: dict[str, Any], model: str, instance: Any) -> Any:
    """The first answer; until the model is loaded there is no such model."""
    url, headers = f"{stack['server_url']}/predict", {"Authorization": f"Bearer {stack['server_token']}"}
    end = time.monotonic() + SECONDS
    while True:
        body = {"model": model, "instances": [instance]}
        answer = httpx.post(url, json=body, headers=headers, timeout=30, trust_env=False)
        if answer.status_code != 404 or time.monotonic() > end:
            (prediction,) = answer.raise_for_status().json()["predictions"]
            return prediction
        time.sleep(0.2)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
