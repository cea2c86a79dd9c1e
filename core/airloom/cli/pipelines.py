"""`airloom pipeline …`: pipeline files, and the runs of versions that one missed."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from airloom.cli.console import Json, say
from airloom.settings import Settings, load

if TYPE_CHECKING:
    from airloom.contracts import RunContext
    from airloom.spec.pipeline import Pipeline
    from airloom.spec.predict import PredictSection
    from airloom.spec.tuning import Distribution

app = typer.Typer(help="Pipeline files, and the runs of versions that one missed.", no_args_is_help=True)


@app.command()
def schema() -> None:
    """Print the JSON schema of pipeline files."""
    from airloom.spec.pipeline import Pipeline

    typer.echo(json.dumps(Pipeline.model_json_schema(), indent=1))


@app.command()
def check(
    pipeline: Annotated[str, typer.Argument(help="A pipeline's name, or the path of its file.")],
    run: Annotated[bool, typer.Option("--run", help="Rehearse it: train on a few rows, export, evaluate.")] = False,
    version: Annotated[int | None, typer.Option(help="Dataset version; the newest when left out.")] = None,
    json_: Json = False,
) -> None:
    """Check a pipeline file and say what it would run; every mistake names its key and what is allowed.

    Of a dataset that is here the label, the columns of slices and a published split are looked at. With --run the
    training function is called on one or two batches, its model exported, evaluated and asked for one answer: what a
    whole study would otherwise end with.
    """
    from airloom.pipeline.checks import check_metrics
    from airloom.pipeline.run import find_file
    from airloom.spec.load import full, load_pipeline

    settings = load()
    file = find_file(settings, pipeline)
    whole = load_pipeline(file)
    several = {name: load_pipeline(file, name) for name in whole.candidates} or {"": whole}
    for candidate in several.values():
        _check_code(settings, candidate)
    check_metrics(whole)
    trials = f"{whole.tune.trials} trials" if whole.tune else "no study"
    lines = [f"{file}: pipeline {whole.pipeline} on dataset {whole.dataset.name}, {trials}"]
    lines += [line for name, candidate in several.items() for line in _told(name, candidate)] + _end_of(whole)
    shown = _shown(lines, as_json=json_)  # before what may fail
    shown += _shown(_published(settings, whole, version) + _labels(settings, whole, version), as_json=json_)
    if run:
        shown += _rehearse(settings, file, several, version, as_json=json_)
    if json_:
        typer.echo(json.dumps({"file": str(file), "pipeline": full(whole), "says": shown}, indent=1))


def _shown(lines: Iterable[str], *, as_json: bool) -> list[str]:
    """Print lines as they come, and return them; JSON has them all in the end."""
    kept = []
    for line in lines:
        kept.append(line.strip())
        if not as_json:
            typer.echo(line)
    return kept


def _published(settings: Settings, pipeline: "Pipeline", number: int | None) -> list[str]:
    """How a published split divides the version, where the dataset is here; a row that names no part is an error."""
    from airloom.datasets import versions
    from airloom.pipeline.steps.resolve import snapshot_asked, snapshot_of

    dataset = pipeline.dataset
    if dataset.name not in versions.list_datasets(settings):
        return []
    version = (
        versions.latest(settings, dataset.name) if number is None else versions.get(settings, dataset.name, number)
    )
    by = snapshot_asked(settings, dataset, version).by
    if not by:
        return []
    prepared = snapshot_of(settings, dataset, version)
    rows = ", ".join(f"{part} {count}" for part, count in prepared.rows.items())
    twice = ", ".join(f"{part} {count}" for part, count in prepared.repeated.items())
    again = f"; rows with inputs that an earlier part has too: {twice}" if twice else ""
    return [f"  split of {version.name}, published by {by}: {rows}{again}"]


def _labels(settings: Settings, pipeline: "Pipeline", number: int | None) -> list[str]:
    """What the answers are for; labels of the wrong kind are an error, where the dataset is here."""
    from airloom import tasks
    from airloom.datasets import versions
    from airloom.pipeline.checks import check_log, check_slices, missing_datasets
    from airloom.pipeline.rehearsal import check_labels

    tasks.find(pipeline.task, settings.project)
    datasets, name = versions.list_datasets(settings), pipeline.dataset.name
    if name in datasets and (pipeline.task or pipeline.gate or pipeline.evaluate.slices or pipeline.log):
        version = versions.latest(settings, name) if number is None else versions.get(settings, name, number)
        manifest = versions.manifest_of(settings, version)
        check_labels(settings, pipeline, manifest.arrow_schema, manifest.layout.label)
        check_slices(pipeline, manifest)
        check_log(pipeline, manifest)
    return [*([f"  task: {pipeline.task}"] if pipeline.task else []), *missing_datasets(pipeline, datasets)]


def _check_code(settings: Settings, pipeline: "Pipeline") -> None:
    """What can be known of the project without running any of it."""
    from airloom.cache.manifest import declared
    from airloom.evaluation import own
    from airloom.pipeline.checks import check_functions
    from airloom.project import weights
    from airloom.tuning import samplers

    declared(settings.project, pipeline.files)
    python = pipeline.resources.interpreter or settings.job_python
    weights.resolved(settings.project, pipeline.weights, python, fetch=False)
    check_functions(settings, pipeline)
    own.load(settings.project, pipeline.evaluate.own)
    if pipeline.tune:
        samplers.check(pipeline)


def _told(name: str, pipeline: "Pipeline") -> list[str]:
    """What one candidate trains, and what its study searches."""
    tune = pipeline.tune
    given = ", ".join(f"{key}={value}" for key, value in pipeline.parameters.items())
    trains = f"  {name or 'trains'}: {pipeline.trains}" + (f", with {given}" if given else "")
    if tune is None:
        return [trains, "  no tune: trained once, with these parameters"]
    space = ", ".join(f"{key} {_dimension(d)}" for key, d in tune.dimensions.items()) or tune.space_function
    targets = ", ".join(f"{target.direction} {target.metric}" for target in tune.targets)
    return [
        trains,
        f"  searches: {space}",
        f"  study: {targets}; {tune.trials} trials, {tune.workers} workers, {tune.sampler.name}, {tune.pruning.name}",
    ]


def _end_of(pipeline: "Pipeline") -> list[str]:
    """What becomes of the model: who judges it, and who makes it serve."""
    gate, version = "  no gate: it is evaluated and registered, nobody judges it", f"{pipeline.pipeline}/VERSION"
    if pipeline.gate:
        rule = pipeline.gate.against_champion
        minimums = ", ".join(f"{metric} at least {value:g}" for metric, value in pipeline.gate.at_least.items())
        champion = f"better {rule.metric}" if rule.superior else f"{rule.metric} worse by less than {rule.margin:g}"
        gate = f"  gate: {minimums}; against the champion {champion}"
    promoted = f"  no deploy: no run makes a version serve; `airloom model promote {version}` makes it the champion"
    answers = [f"  predict: each new champion answers {one.dataset}{_kept(one)}" for one in pipeline.predict]
    return [
        gate,
        f"  deploy: what the gate passes becomes {pipeline.deploy}" if pipeline.deploy else promoted,
        *answers,
        *([f"  monitor: it {pipeline.monitor.starts}"] if pipeline.monitor else []),
    ]


def _kept(wanted: "PredictSection") -> str:
    split = f", split {wanted.split}" if wanted.split else ""
    return f"{split}, into the dataset {wanted.commit}" if wanted.commit else split


def _dimension(d: "Distribution") -> str:
    if d.choice is not None or d.value is not None:
        return str(d.choice if d.choice is not None else d.value)
    low, high = d.int_ or d.float_ or (0, 0)
    return f"{low:g} to {high:g}" + (", log" if d.log else "") + (f", by {d.step:g}" if d.step else "")


def _rehearse(
    settings: Settings, file: Path, several: "dict[str, Pipeline]", version: int | None, *, as_json: bool
) -> list[str]:
    from airloom.pipeline.rehearsal import rehearse

    context, shown = _context(settings, file, next(iter(several.values())), version), list[str]()
    for name in several:
        say(f"rehearsal{f' of {name}' if name else ''} on {context.snapshot.version_name} …")
        lines = rehearse(settings, context.of_candidate(name) if name else context)
        shown += _shown((f"  {line}" for line in lines), as_json=as_json)
    return shown


def _context(settings: Settings, file: Path, pipeline: "Pipeline", version: int | None) -> "RunContext":
    """What a run would work on, without a run of MLflow."""
    from airloom.contracts import RunContext
    from airloom.datasets import versions
    from airloom.pipeline.steps.resolve import snapshot_of
    from airloom.project.weights import resolved
    from airloom.spec.load import read_values

    dataset = pipeline.dataset
    chosen = (
        versions.latest(settings, dataset.name) if version is None else versions.get(settings, dataset.name, version)
    )
    prepared = snapshot_of(settings, dataset, chosen)
    python = pipeline.resources.interpreter or settings.job_python
    weights = resolved(settings.project, pipeline.weights, python)
    key, values = f"{pipeline.pipeline}/check", read_values(file)
    return RunContext(pipeline.pipeline, values, key, "", "", prepared, weights=weights)


@app.command(name="catch-up")
def catch_up(
    name: Annotated[str, typer.Argument(help="The DAG: a pipeline's name, or one of your own with `each_version`.")],
    first: Annotated[str, typer.Option("--from", help="The first version that shall have a run, such as v1.")],
    json_: Json = False,
) -> None:
    """Start a run in Airflow for each dataset version that has none, in order, from a version on."""
    from airloom.stack import missed_versions
    from airloom.stack.airflow_api import AirflowApi

    settings, number = load(), missed_versions.version_number(first)
    with AirflowApi(settings) as api:
        runs = missed_versions.catch_up(settings, api, name, number)
    lines = [f"v{run.version}: {f'started {run.run}' if run.started else 'has its run'}" for run in runs]
    typer.echo(json.dumps([run.to_dict() for run in runs], indent=1) if json_ else "\n".join(lines))
