"""`airloom reproduce` and `airloom check-determinism`."""

import json
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from airloom.errors import ConfigError
from airloom.settings import Settings, load

if TYPE_CHECKING:
    from airloom.spec.pipeline import Pipeline

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Candidate = Annotated[str, typer.Option(metavar="NAME", help="Which one, where the pipeline has several candidates.")]


def reproduce(
    target: Annotated[str, typer.Argument(help="Id of an MLflow run, or a model: digits/3, digits@champion.")],
    candidate: Candidate = "",
    json_: Json = False,
) -> None:
    """Train again what a run trained, from its snapshot, code, parameters and seed, and compare.

    Says BITWISE EQUAL, WITHIN TOLERANCE or DIFFERS, with the first step that differs; exit code 1 when it differs.
    """
    from airloom.datasets.snapshots import snapshot
    from airloom.training.reproducibility.past_run import past_run

    settings = load()
    past = past_run(settings, target, candidate)
    snapshot.check_whole(settings, past.snapshot)  # before a job is started for it
    threads = int(past.threads or 1)
    value = _run(settings, "airloom.training.reproducibility.reproduce:step", {"run": past.run}, threads)
    _print(value, json_, f"run {past.run}")


def check_determinism(
    pipeline: Annotated[str, typer.Argument(help="A pipeline's name, or the path of its file.")],
    version: Annotated[int | None, typer.Option(help="Dataset version; the newest when left out.")] = None,
    parameter: Annotated[list[str] | None, typer.Option("--parameter", "-p", help="name=value, repeatable.")] = None,
    candidate: Candidate = "",
    json_: Json = False,
) -> None:
    """Train a pipeline's function twice, each time in a new process, and compare bit for bit.

    A dimension of the search space takes its lowest or first value unless --parameter gives another.
    """
    from airloom.cli.console import parse_parameters
    from airloom.datasets import versions
    from airloom.pipeline.run import find_file
    from airloom.pipeline.steps.resolve import snapshot_of
    from airloom.project.weights import resolved
    from airloom.training.reproducibility.reproduce import Trace, compare, parameters_of

    settings = load()
    spec = _one_candidate(find_file(settings, pipeline), candidate)
    name = spec.dataset.name
    chosen = versions.latest(settings, name) if version is None else versions.get(settings, name, version)
    prepared = snapshot_of(settings, spec.dataset, chosen)
    python = spec.resources.interpreter or settings.job_python
    weights = resolved(settings.project, spec.weights, python)
    arguments = {
        "function": spec.train,
        "parameters": parameters_of(spec, parse_parameters(parameter or [])),
        "seed": spec.seed,
        "snapshot": prepared.to_dict(),
        "weights": {name: one.to_dict() for name, one in weights.items()},
    }
    step, threads = "airloom.training.reproducibility.reproduce:once", spec.resources.threads
    first, second = (Trace.from_dict(_run(settings, step, arguments, threads)) for _ in range(2))
    _print(compare(first, second).to_dict(), json_, f"{spec.train} on {prepared.version_name}, twice")


def _one_candidate(file: Path, candidate: str) -> "Pipeline":
    """The pipeline of a file with one candidate, or of the named one of several."""
    from airloom.spec.load import load_pipeline

    pipeline = load_pipeline(file, candidate)
    if len(pipeline.candidates) > 1:
        options = " or ".join(f"--candidate {name}" for name in pipeline.candidates)
        message = f"{pipeline.pipeline} has several candidates: {', '.join(pipeline.candidates)}"
        raise ConfigError(message, f"say which: {options}")
    return pipeline


def _run(settings: Settings, step: str, arguments: dict[str, Any], threads: int) -> dict[str, Any]:
    from airloom.cli.console import say
    from airloom.jobs.spec import JobSpec, Resources
    from airloom.jobs.wait import run_job

    job = JobSpec(step=step, arguments=arguments, resources=Resources(threads=threads, time=86_400))
    return run_job(settings, f"compare/{uuid.uuid4().hex}", job, on_line=say)


def _print(comparison: dict[str, Any], as_json: bool, what: str) -> None:
    lines = [f"{comparison['verdict']}: {what}"]
    if comparison["first_step"] is not None:
        lines.append(f"the first step that differs is {comparison['first_step']} ({comparison['metric']})")
    if comparison["difference"]:
        lines.append(f"the largest difference is {comparison['difference']:.3g}")
    typer.echo(json.dumps(comparison, indent=1) if as_json else "\n".join([*lines, *comparison["notes"]]))
    if comparison["verdict"] == "DIFFERS":
        raise typer.Exit(1)
