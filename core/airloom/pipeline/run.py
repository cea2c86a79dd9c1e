"""`airloom run` and `airloom tune`: the same steps in plain Python, without Airflow."""

import os
import shlex
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from airloom.contracts import Decision, Evaluation, RunContext, StudyResult
from airloom.errors import ConfigError, StoppedByRequest
from airloom.jobs import files
from airloom.names import RunKey, kept_key, near, owner_of_key
from airloom.pipeline.steps import evaluate, predict, promote, train, tune
from airloom.pipeline.steps.resolve import asked, contexts, resolve
from airloom.pipeline.steps.submit import LogLine, decide, prefixed, run_step
from airloom.pipeline.workers import run_study, run_workers
from airloom.project_file import outside
from airloom.settings import Settings
from airloom.spec.load import definition, find_pipelines, load_pipeline
from airloom.tracking.ending import end_run, ending

DEPLOYED, REGISTERED = "deployed", "registered"  # values of `Tag.OUTCOME`
POLL = 0.2  # seconds between two looks whether another process has ended


def find_file(settings: Settings, name: str) -> Path:
    """A pipeline file by path, or by the name of a pipeline of this project.

    Raises:
        ConfigError: there is none.
    """
    given = Path(name)
    files_by_name = {path.stem: path for path in find_pipelines(settings.project)}
    # A name comes first: a folder or a package beside may be called like the pipeline.
    if name not in files_by_name and (given.suffix in {".yaml", ".yml"} or given.is_file()):
        return given.resolve()
    if name not in files_by_name:
        known = f"known here: {', '.join(files_by_name) or 'none'}; or give a path"
        hint = f"{outside(settings.project)}{near(name, files_by_name)}{known}"
        raise ConfigError(f"there is no pipeline {name!r}", hint)
    return files_by_name[name].resolve()


def run_pipeline(
    settings: Settings,
    file: Path,
    log_line: LogLine,
    *,
    version: int | None = None,
    parameters: dict[str, Any] | None = None,
    key: str = "",
    cache: bool = True,
) -> dict[str, Any]:
    """Run every step that the file has; a refused candidate ends before `register`, the champion before `evaluate`.

    Args:
        settings: of this installation.
        file: the pipeline file; only `resolve` reads it.
        log_line: gets each line of progress.
        version: of the dataset; None for the newest.
        parameters: override the file's for this run.
        key: of an earlier run, which goes on then.
        cache: whether steps may take results of earlier runs.

    Returns:
        What each step returned, as JSON, without those that were not
        needed; of several candidates, `study` and `model` are those of the chosen one.

    Raises:
        JobFailed: a step failed.
        ConfigError: the pipeline file, or what is asked for, is wrong.
    """
    name = _key(settings, file, key)
    with one_at_a_time(settings, name, log_line), _resumable(settings, file, "run", name, log_line):
        context = _resolved(settings, file, log_line, version, parameters, name, cache=cache)
        with ending(settings, context):
            return _steps(settings, context, log_line)


def _steps(settings: Settings, context: RunContext, log_line: LogLine) -> dict[str, Any]:
    trained = {
        name: _train(settings, candidate_context, log_line) for name, candidate_context in contexts(context).items()
    }
    models = {name: result["model"] for name, result in trained.items()}
    arguments = {"trained": models.get("", models)}
    if known := promote.nothing_new(settings, context, arguments["trained"]):
        log_line(f"evaluate: {known.reasons[0]}")
        finish(settings, context, known)
        (candidate,) = trained
        return {"context": context.to_dict(), **of_chosen(trained, candidate), "gate": known.to_dict()}
    evaluated = run_step(settings, context, evaluate.STEP, arguments, prefixed(log_line, "evaluate"))
    evaluation, pipeline = Evaluation.from_dict(evaluated), definition(context)
    if pipeline.gate:
        decided = run_step(settings, context, promote.GATE, {"evaluation": evaluated}, prefixed(log_line, "gate"))
        decision = Decision.from_dict(decided)
    else:
        decision = promote.not_judged(settings, context, evaluation)
    candidate, model = promote.chosen(arguments["trained"], evaluation)
    result = {"context": context.to_dict(), **of_chosen(trained, candidate), "evaluation": evaluated}
    result["gate"] = decision.to_dict()
    for reason in decision.reasons:
        log_line(f"gate: {reason}")
    outcome = REGISTERED
    if decision.registers:
        registered = promote.register(settings, context, model, evaluation, decision)
        log_line(f"register: {registered.model} version {registered.version}")
        result["registered"] = registered.to_dict()
        if pipeline.deploy:
            begun = promote.begin_deployment(settings, context, registered).to_dict()
            ended = promote.end_deployment(settings, registered, begun, prefixed(log_line, "deploy"))
            result |= {"deployment": ended.deployment, "rollout": {"outcome": ended.outcome, "reason": ended.reason}}
            outcome = DEPLOYED if ended.promoted else ended.outcome
        else:
            log_line(f"deploy: {promote.left_to_people(settings, context, registered)}")
    finish(settings, context, decision, outcome=outcome)
    if outcome == DEPLOYED and pipeline.predict:
        result["predictions"] = _predict(settings, context, result["registered"], log_line)
    return result


def _predict(
    settings: Settings, context: RunContext, registered: dict[str, Any], log_line: LogLine
) -> list[dict[str, Any]]:
    """Have the new champion answer what the file names, one dataset after the other."""
    answered = []
    for entry, wanted in enumerate(definition(context).predict):
        arguments = {"registered": registered, "entry": entry}
        made = run_step(settings, context, predict.STEP, arguments, prefixed(log_line, f"predict {wanted.dataset}"))
        log_line(f"predict: {made['rows']} rows of {made['dataset']} in {made['committed'] or made['folder']}")
        answered.append(made)
    return answered


def of_chosen(trained: dict[str, dict[str, Any]], candidate: str) -> dict[str, Any]:
    """What `tune`, `study` and `model` of a run's result are: the chosen candidate's, with all of them by name."""
    return trained[candidate] | ({"candidate": candidate, "candidates": trained} if candidate else {})


def tune_pipeline(
    settings: Settings,
    file: Path,
    log_line: LogLine,
    follow: Callable[[str], None] = lambda _: None,
    *,
    version: int | None = None,
    parameters: dict[str, Any] | None = None,
    key: str = "",
    cache: bool = True,
) -> StudyResult:
    """Run a pipeline's study alone; an earlier one's `key` goes on with that, or extends it.

    Args:
        settings: of this installation.
        file: the pipeline file.
        log_line: gets each line of progress.
        follow: gets the name of the study before its workers start.
        version: of the dataset; None for the newest.
        parameters: override the file's for this run.
        key: of an earlier study.
        cache: whether a finished study of an earlier run with the same inputs may be the result.

    Raises:
        JobFailed: the study failed.
        ConfigError: the pipeline file, or what it asks for, is wrong, or it has no study.
    """
    load_pipeline(file).study  # noqa: B018 - before anything is made
    name = _key(settings, file, key)
    with one_at_a_time(settings, name, log_line), _resumable(settings, file, "tune", name, log_line):
        context = _resolved(settings, file, log_line, version, parameters, name, cache=cache)
        with ending(settings, context):
            result = run_study(settings, context, log_line, follow)
        end_run(settings, context.mlflow_run, "FINISHED")
    return result


def _key(settings: Settings, file: Path, key: str) -> str:
    """The key of the run to go on with, or of a new one.

    Raises:
        ConfigError: the pipeline file is wrong, or the key is of another installation.
    """
    if not key:
        run = f"local__{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}"
        return str(RunKey(load_pipeline(file).pipeline, run, installation=settings.installation))
    kept = kept_key(key, settings.installation)
    if owner_of_key(kept) != settings.installation:
        message = f"run {key} is of another installation than this, {settings.installation or 'which has no name'}"
        raise ConfigError(message, "go on with it there, or leave --key out to start a run here")
    return kept


@contextmanager
def one_at_a_time(settings: Settings, key: str, log_line: LogLine) -> Iterator[None]:
    """Do one run of a key at a time: who comes second waits, and then finds what the first one did.

    The lock stands in the key's own folder, which a collection takes away when it is old.
    """
    folder = files.key_folder(settings.make_home(), key)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = files.try_lock(folder)
    if lock is None:
        log_line(f"{key} is at work in another process: this one waits, and gives the same result")
    while lock is None:
        time.sleep(POLL)
        lock = files.try_lock(folder)
    try:
        yield
    finally:
        os.close(lock)


@contextmanager
def _resumable(settings: Settings, file: Path, command: str, key: str, log_line: LogLine) -> Iterator[None]:
    """Say how to go on where a person stops the run: Ctrl-C, or SIGTERM, which ends it in the same way."""
    names = [path.stem for path in find_pipelines(settings.project) if path.resolve() == file]
    again = shlex.join(["airloom", command, *(names[:1] or [str(file)]), "--key", key])

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise StoppedByRequest(f"{key} was stopped by SIGTERM", f"`{again}` goes on")

    main = threading.current_thread() is threading.main_thread()  # only there Python lets signals be handled
    before = signal.signal(signal.SIGTERM, stop) if main else None
    try:
        yield
    except (KeyboardInterrupt, StoppedByRequest):
        log_line(f"stopped: `{again}` goes on; steps that ended are kept, a training has its checkpoint")
        raise
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)


def finish(
    settings: Settings, context: RunContext, decision: Decision | None = None, *, outcome: str = DEPLOYED
) -> None:
    """End the parent MLflow run. A refused candidate is a finished run too: the pipeline did its work.

    Args:
        settings: of this installation.
        context: of the pipeline run.
        decision: of the gate, or that there is none; None where a version was made.
        outcome: of the version that was made: deployed, registered, or what came of its rollout.
    """
    if decision is not None and not decision.registers:
        outcome = "nothing new" if decision.nothing_new else "refused"
    gate = definition(context).gate
    metric = gate.against_champion.metric if gate else ""
    end_run(settings, context.mlflow_run, "FINISHED", outcome, metric)


def _resolved(
    settings: Settings,
    file: Path,
    log_line: LogLine,
    version: int | None,
    parameters: dict[str, Any] | None,
    key: str,
    *,
    cache: bool,
) -> RunContext:
    log_line(f"resolve: {key}")  # before anything can fail: with this key one goes on
    given = dict(parameters or {})
    if known := asked(settings, file, key):
        version, given = known.same(key, version, given)
    context = resolve(settings, file, key, version, given, cache=cache)
    rows = context.snapshot.rows
    log_line(f"resolve: {context.snapshot.version_name}, rows {rows}, MLflow run {context.mlflow_run}")
    return context


def _train(settings: Settings, context: RunContext, log_line: LogLine) -> dict[str, Any]:
    """The study and the final training of one candidate: `tune`, `study` and `model`; without a study no workers."""
    of_candidate = prefixed(log_line, context.candidate) if context.candidate else log_line
    if definition(context).tune is None:
        return {"tune": [], **run_step(settings, context, train.STEP, {}, prefixed(of_candidate, "train"))}
    first = {"worker": 0}
    decision = decide(settings, context, tune.STEP, first, tune.STEP.key(context, first))
    for line in decision.lines if decision else []:
        of_candidate(f"tune: {line}")
    workers = [] if decision and decision.hit else run_workers(settings, context, of_candidate)
    return {"tune": workers, **run_step(settings, context, train.STEP, {}, prefixed(of_candidate, "train"))}
