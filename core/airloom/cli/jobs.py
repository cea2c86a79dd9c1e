"""`airloom jobs …` and `airloom devices`."""

import json
import time
from typing import TYPE_CHECKING, Annotated

import typer

from airloom.settings import load

if TYPE_CHECKING:
    from airloom.jobs.control import JobStatus
    from airloom.jobs.states import Attempt

app = typer.Typer(help="The heavy work: processes that outlive who started them.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Key = Annotated[str, typer.Argument(help="Key of the job, as `list` shows it.")]


@app.command("list")
def list_(
    alive: Annotated[bool, typer.Option("--alive", help="Only those that still work or wait.")] = False,
    json_: Json = False,
) -> None:
    """The newest attempt of each job, newest first."""
    from airloom.jobs import control

    jobs = [job for job in control.list_jobs(load()) if not alive or job.attempt.alive]
    lines = [
        f"{_state(job):14} {_age(job.attempt):>8}  attempt {job.attempt.number}  {job.attempt.key}  "
        f"{job.attempt.reason[:80]}"
        for job in jobs
    ]
    typer.echo(json.dumps([job.to_dict() for job in jobs], indent=1) if json_ else "\n".join(lines) or "no jobs")


@app.command()
def show(key: Key, json_: Json = False) -> None:
    """All attempts of a job: how each ended, and what it used."""
    from airloom.jobs import control

    jobs = control.show(load(), key)
    text = json.dumps([job.to_dict() for job in jobs], indent=1) if json_ else "\n\n".join(map(_describe, jobs))
    typer.echo(text)


@app.command()
def logs(
    key: Key,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job ends.")] = False,
    attempt: Annotated[int, typer.Option(help="Number of the attempt; the newest when left out.")] = 0,
) -> None:
    """What a job printed."""
    from airloom.errors import JobError
    from airloom.jobs import control, files
    from airloom.jobs.wait import wait

    settings = load()
    attempts = [job.attempt for job in control.show(settings, key)]
    chosen = [job for job in attempts if job.number == (attempt or attempts[-1].number)]
    if not chosen:
        raise JobError(f"{key} has no attempt {attempt}", f"it has {', '.join(str(job.number) for job in attempts)}")
    if follow:
        ended = wait(settings, chosen[0], typer.echo)
        typer.echo(f"{ended.state} {ended.reason}", err=True)
        return
    for line in files.Follower(chosen[0].path / files.LOG).lines(last=True):
        typer.echo(line)


@app.command()
def cancel(
    key: Key, reason: Annotated[str, typer.Option(help="Why; it stands in the attempt.")] = "cancelled by a person"
) -> None:
    """End a job for good, with every process of it."""
    from airloom.jobs import control

    ended = control.cancel(load(), key, reason)
    typer.echo(f"{key} attempt {ended.number}: {ended.state}", err=True)


@app.command()
def reconcile() -> None:
    """Keep jobs, MLflow's runs and missed versions in step with Airflow, for ever: the stack's own, or another one.

    Ends the jobs of tasks that a person marked, cleared or deleted, ends the MLflow runs of runs that ended, and starts
    the runs of versions that a DAG missed while it was paused. AIRLOOM_AIRFLOW_URL with AIRLOOM_AIRFLOW_TOKEN, or with
    AIRLOOM_AIRFLOW_USER and AIRLOOM_AIRFLOW_PASSWORD, names an Airflow that is not the stack's.
    """
    from airloom.stack.job_reconciler import reconcile as follow

    follow(load())


def devices(json_: Json = False) -> None:
    """This machine's devices, and which job holds each."""
    from airloom.jobs import control

    uses = control.list_devices(load())
    lines = (f"{use.device:14} {f'{use.key} attempt {use.attempt}' if use.key else 'free'}" for use in uses)
    hint = "no devices; AIRLOOM_DEVICES=4 declares four that exist in name only"
    typer.echo(json.dumps([use.to_dict() for use in uses], indent=1) if json_ else "\n".join(lines) or hint)


def _state(job: "JobStatus") -> str:
    return f"{job.attempt.state} ({job.position})" if job.position else job.attempt.state


def _age(attempt: "Attempt") -> str:
    """How long it has run, or waited."""
    begun = attempt.started or attempt.submitted
    return f"{(attempt.ended or time.time()) - begun:.0f} s"


def _describe(job: "JobStatus") -> str:
    attempt = job.attempt
    times = {"submitted": attempt.submitted, "started": attempt.started, "ended": attempt.ended}
    stamps = {name: time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at)) for name, at in times.items() if at}
    lines = {
        "attempt": f"{attempt.number} of {attempt.key}",
        "state": f"{_state(job)} {attempt.reason}",
        "does": attempt.name,
        **{name: f"{text} UTC" for name, text in stamps.items()},
        "host": f"{attempt.host}, supervisor {attempt.owner}, process {attempt.pid}",
        "used": f"{attempt.cpu_seconds:.1f} CPU-seconds, {attempt.peak_memory / 2**20:.0f} MiB at most"
        + (f", {attempt.device_seconds:.1f} device-seconds" if attempt.wanted else ""),
        "devices": attempt.devices,
        "task": ", ".join(f"{name} {value}" for name, value in attempt.task.items()),
        "folder": attempt.folder,
    }
    return "\n".join(f"{name:10} {text}" for name, text in lines.items() if text)
