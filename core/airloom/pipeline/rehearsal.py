"""A rehearsal: everything that a run does with a model, once, on a few rows, before the first trial.

The training function on one or two batches, `save_model`, the export, an evaluation, one answer. What would otherwise
be told after a whole study is told in seconds. It runs in a process of its own:
`python -m airloom.pipeline.rehearsal FOLDER`.
"""

import json
import logging
import os
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airloom.cache.manifest import StepManifest, digest_of, of_training
from airloom.contracts import RunContext
from airloom.errors import AirloomError, ConfigError, GateError, JobFailed
from airloom.files import write_private
from airloom.jobs import processes
from airloom.jobs.results import Failure
from airloom.pipeline.checks import check_log, check_slices
from airloom.project.git import head
from airloom.settings import Settings, load
from airloom.spec.gate import GateSection
from airloom.spec.load import definition
from airloom.spec.pipeline import Pipeline
from airloom.tuning.slots import Slots

if TYPE_CHECKING:
    import pyarrow as pa

    from airloom.training.run import TrainingRun

OFF = "`rehearse: false` in the pipeline file switches the rehearsal off"
ROWS = 64  # of a batch, where no parameter `batch_size` says it; of the evaluation
_GIVEN, _TOLD = "context.json", "result.json"
_RANKS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # it rehearses alone
_NAMES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
log = logging.getLogger(__name__)


def before_training(settings: Settings, ctx: RunContext) -> None:
    """Rehearse code that was not rehearsed before: before the first trial, and without a study before the training.

    Of the workers of a study that start together one does it.

    Args:
        settings: of this installation.
        ctx: of the pipeline run, or of one of its candidates.

    Raises:
        JobFailed, ConfigError, GateError: what would have stopped the run later, and what to do about it.
    """
    from filelock import FileLock

    pipeline = definition(ctx)
    if not pipeline.rehearse or pipeline.command or Slots(settings.database_address).tally(ctx.key).finished:
        return
    folder, key = settings.make_home() / "rehearsed", _key(settings, ctx)
    folder.mkdir(exist_ok=True, mode=0o700)
    with FileLock(folder / f"{key}.lock"):
        if (folder / key).exists():
            return
        try:
            lines = rehearse(settings, ctx)
        except AirloomError as error:
            what = "the first trial" if pipeline.tune else "the training"
            message = f"the rehearsal before {what} failed: {error.message}"
            raise type(error)(message, f"{error.hint}; {OFF}" if error.hint else OFF) from None
        for line in lines:
            log.info("rehearsal: %s", line)
        write_private(folder / key, json.dumps({"run": ctx.key, "told": lines}))


def rehearse(settings: Settings, ctx: RunContext) -> list[str]:
    """Rehearse in a process of its own; returns what it did, a line each.

    Args:
        settings: of this installation.
        ctx: has definition, candidate, snapshot and parameters; no MLflow run is needed.

    Raises:
        JobFailed, ConfigError, GateError: what would stop a run, and what to do about it.
    """
    pipeline = definition(ctx)
    if pipeline.command:
        raise ConfigError("a command cannot be rehearsed: nobody can hold it to one batch", "name a function: `train:`")
    with tempfile.TemporaryDirectory(prefix="airloom-rehearsal-") as name:
        folder, asked = Path(name), pipeline.resources
        (folder / _GIVEN).write_text(json.dumps(ctx.to_dict()))
        command = [
            asked.interpreter or settings.job_python or sys.executable,
            "-P",
            "-m",
            "airloom.pipeline.rehearsal",
            name,
        ]
        threads = dict.fromkeys(_NAMES, str(asked.threads))
        variables = {name: value for name, value in os.environ.items() if name not in _RANKS}
        variables |= {**settings.as_environment(), **threads}
        try:
            # What the function prints is no answer of ours.
            done = subprocess.run(command, env=variables, stdout=2, timeout=asked.time, check=False)
        except subprocess.TimeoutExpired:
            hint = "raise resources.time, or have the function do less before its first epoch"
            raise JobFailed(f"it took longer than resources.time, {asked.time:g} s, on a few rows", hint) from None
        if not (folder / _TOLD).exists():
            raise JobFailed(f"its process {processes.how(done.returncode)}", "what it printed may say why")
        told = json.loads((folder / _TOLD).read_text())
    if "failure" in told:
        failure = Failure(**told["failure"])
        kinds: dict[str, type[AirloomError]] = {kind.__name__: kind for kind in (ConfigError, GateError)}
        raise kinds.get(failure.type, JobFailed)(failure.error, failure.hint)
    return [str(line) for line in told["lines"]]


def _key(settings: Settings, ctx: RunContext) -> str:
    """What the code is that would run. Other data, and parameters of one run only, are no reason to rehearse again."""
    pipeline = definition(ctx)
    section = pipeline.model_dump(mode="json", by_alias=True, include={"tune", "gate", "dataset"})
    manifest: StepManifest = of_training(settings, ctx.with_(parameters={}), {}, {"section": section}, {})
    return digest_of({name: part for name, part in manifest.parts.items() if name != "snapshot"})


def check_labels(settings: Settings, pipeline: Pipeline, schema: "pa.Schema", label: str) -> None:
    """Refuse a dataset whose labels, or whose groups, are not what the pipeline needs.

    Args:
        settings: of this installation.
        pipeline: says the task.
        schema: of the dataset's rows.
        label: its label column; empty where it has none.

    Raises:
        ConfigError: says what the column is, and what is needed.
    """
    from airloom import tasks

    if task := tasks.find(pipeline.task, settings.project):
        task.check(schema.field(label) if label else None)
    group = pipeline.gate.against_champion.group if pipeline.gate else ""
    if group and group not in schema.names:
        message = f"gate.against_champion.group: the dataset has no column {group!a}"
        raise ConfigError(message, f"its columns are {', '.join(schema.names[:20])}")


# -- in the process of its own


def main(arguments: list[str]) -> int:
    """Rehearse what the folder's context says, and leave there what came of it."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Indented("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    processes.die_with_parent()
    folder = Path(arguments[0])
    try:
        told: dict[str, Any] = {"lines": list(_steps(load(), RunContext.from_dict(json.loads(_text(folder)))))}
    except Exception as error:
        if not isinstance(error, AirloomError):
            log.exception("the rehearsal failed")
        told = {"failure": Failure.of(error).to_dict()}
    write_private(folder / _TOLD, json.dumps(told))
    return int("failure" in told)


class _Indented(logging.Formatter):
    """At a terminal a traceback of the user's function is not to look like one of ours."""

    def formatException(self, ei: Any) -> str:
        return textwrap.indent(super().formatException(ei), "  ")


def _text(folder: Path) -> str:
    return (folder / _GIVEN).read_text()


def _steps(settings: Settings, ctx: RunContext) -> Iterator[str]:
    from airloom.datasets.snapshots.snapshot import open_snapshot
    from airloom.project.functions import load_function
    from airloom.project.weights import Pretrained
    from airloom.training.execute import execute
    from airloom.training.few_rows import FewRows
    from airloom.training.reproducibility.reproduce import Memory
    from airloom.training.run import TrainingRun
    from airloom.training.source import SnapshotSplits
    from airloom.training.train import check_serves

    pipeline, began = definition(ctx), time.monotonic()
    opened = open_snapshot(settings, ctx.snapshot)
    check_labels(settings, pipeline, opened.schema, opened.layout.label)
    check_slices(pipeline, opened.manifest)
    check_log(pipeline, opened.manifest)
    parameters = _parameters(settings, pipeline, ctx.parameters)
    size = parameters.get("batch_size")
    rows = size if isinstance(size, int) and size > 0 else ROWS
    source, sink = FewRows(SnapshotSplits(settings, ctx.snapshot), rows), Memory()
    weights = Pretrained(settings.project, ctx.weights)
    run = TrainingRun(parameters, pipeline.seed, source, sink, longest=1, weights=weights)
    execute(load_function(settings.project, pipeline.train), run, pipeline.train)
    yield f"{pipeline.train} trained on {len(source.dataset('train'))} rows in {time.monotonic() - began:.1f} s"
    _check_reports(pipeline, sink.history)
    if sink.model is None:
        raise JobFailed(f"{pipeline.train} saved no model", "call run.save_model(model, run.example())")
    check_serves(pipeline, run)
    with tempfile.TemporaryDirectory(prefix="airloom-model-") as folder:
        yield from _served(settings, pipeline, ctx, run, sink.model, Path(folder))


def _parameters(settings: Settings, pipeline: Pipeline, given: dict[str, Any]) -> dict[str, Any]:
    """The file's, the lowest or first of each dimension, this run's own; one epoch."""
    from airloom.training.reproducibility.reproduce import parameters_of
    from airloom.tuning.space import searched, suggester

    if pipeline.tune and pipeline.tune.space_function:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        drawn = suggester(pipeline, settings.project, given)(optuna.create_study().ask())
    else:
        known = {*pipeline.parameters, *pipeline.dimensions}  # another candidate may have the others
        drawn = parameters_of(pipeline, {name: value for name, value in given.items() if name in known})
    parameters = searched(drawn, pipeline, given) if pipeline.tune else drawn
    return parameters | ({"epochs": 1} if isinstance(parameters.get("epochs"), int) else {})


def _check_reports(pipeline: Pipeline, history: dict[str, Any]) -> None:
    targets = pipeline.tune.targets if pipeline.tune else []
    missing = [target.metric for target in targets if target.metric not in history]
    if missing:
        reported = ", ".join(sorted(history)) or "nothing"
        hint = "report it, or name another one in tune.objective"
        raise ConfigError(f"the objective {missing[0]!r} was never reported; reported: {reported}", hint)


def _served(
    settings: Settings, pipeline: Pipeline, ctx: RunContext, run: "TrainingRun", saved: tuple[Any, Any], folder: Path
) -> Iterator[str]:
    """Export the model into a folder, evaluate it on rows of the validation split, and ask it for one answer."""
    from airloom import tasks
    from airloom.datasets.snapshots.snapshot import open_snapshot
    from airloom.evaluation import flat_columns
    from airloom.evaluation.evaluate import also, rows_of, tasks_of
    from airloom.evaluation.inference import Looks, answered, one_answer
    from airloom.evaluation.predictions import by_name
    from airloom.tasks.metrics import shown
    from airloom.training.export.coded_export import AsPython
    from airloom.training.export.tried import tried
    from airloom.training.few_rows import FewRows

    model, example = saved
    opened = open_snapshot(settings, ctx.snapshot)
    task, own = tasks_of(settings, pipeline)
    split, processing = opened.split("validation"), run.processing.of_classes(opened.labels_of_classes)
    processing = tasks.declared(task, processing)
    how = None if run.code is None else AsPython(run.code, settings.project, head(settings.project)[0])
    data, golden, told = tried(model, example, folder, processing, run.rtol, how)
    yield told
    places = FewRows.spread(len(split), ROWS)
    asked = rows_of(split, places, task)
    flat = flat_columns.read(opened, "validation") if own else {}
    looks = Looks(task, own, {name: cells[places] for name, cells in flat.items()})
    judged = answered("the model", data, golden, processing, asked.raw, asked.labels, pipeline.resources.threads, looks)
    rows = by_name(asked.labels, judged.answers, None, None, task, also=also(pipeline, asked.task), own=own)
    measured = rows.measured(rows.candidate) | judged.cost
    if pipeline.gate:
        rule = pipeline.gate.against_champion
        if rule.group:
            flat_columns.groups(opened, "validation", rule.group)
        if not rows.whole(rule.metric):
            rows.merit(rows.candidate, rule.metric)
        _check_gate(pipeline.gate, measured, opened.all_classes, also(pipeline, asked.task))
    figures = ", ".join(f"{name} {value:.4g}" for name, value in shown(measured).items())
    yield f"evaluated on {len(asked.labels)} rows: {figures}"
    yield f"answered one row: {_short(one_answer(data, processing, _first(asked.raw), asked.task))}"


def _short(answer: Any) -> str:
    text = str(answer)
    return text if len(text) <= 200 else f"{text[:200]}…"


def _check_gate(gate: GateSection, measured: dict[str, float], classes: list[str], also: Collection[str] = ()) -> None:
    """A rule for a metric that nobody measures would refuse every model, after all the work."""
    from airloom.tasks.metrics import RECALL

    asked = {"gate.at_least": gate.at_least, "gate.at_most": gate.at_most}
    asked |= {f"gate.slices.{name}.at_least": rule.at_least for name, rule in gate.slices.items()}
    recalls = {f"{RECALL}{name}" for name in classes}  # not every class is among a few rows
    for where, rules in asked.items():
        for metric in rules:
            if metric not in measured and metric not in {*recalls, *also} and not metric.startswith("iou_"):
                names = ", ".join(name for name in measured if not name.startswith(RECALL))
                few = ", ".join(map(ascii, classes[:10])) + (", …" if len(classes) > 10 else "")
                hint = f"it measures {names}, recall_<class> of {few or 'no class'}"
                raise ConfigError(f"{where}: no evaluation measures {metric!r}", hint)


def _first(raw: Any) -> Any:
    return {name: cells[:1] for name, cells in raw.items()} if isinstance(raw, dict) else raw[:1]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
