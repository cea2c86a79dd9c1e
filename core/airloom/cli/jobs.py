"""`airloom jobs …` and `airloom devices`."""

import json
import time
from typing import Annotated, Any

import typer

from airloom.settings import load

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
    from airloom.jobs.states import ALIVE

    found = [job for job in control.list_jobs(load()) if not alive or job["state"] in ALIVE]
    lines = [
        f"{_state(job):14} {_age(job):>8}  attempt {job['number']}  {job['key']}  {job['reason'][:80]}" for job in found
    ]
    typer.echo(json.dumps(found, indent=1) if json_ else "\n".join(lines) or "no jobs")


@app.command()
def show(key: Key, json_: Json = False) -> None:
    """All attempts of a job: how each ended, and what it used."""
    from airloom.jobs import control

    found = control.show(load(), key)
    typer.echo(json.dumps(found, indent=1) if json_ else "\n\n".join(_describe(job) for job in found))


@app.command()
def logs(
    key: Key,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job ends.")] = False,
    attempt: Annotated[int, typer.Option(help="Number of the attempt; the newest when left out.")] = 0,
) -> None:
    """What a job printed."""
    from airloom.errors import JobError
    from airloom.jobs import control, files
    from airloom.jobs.states import Attempt
    from airloom.jobs.wait import wait

    settings = load()
    found = [
        Attempt.from_dict({k: v for k, v in job.items() if k != "position"}) for job in control.show(settings, key)
    ]
    chosen = [job for job in found if job.number == (attempt or found[-1].number)]
    if not chosen:
        raise JobError(f"{key} has no attempt {attempt}", f"it has {', '.join(str(job.number) for job in found)}")
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


def devices(json_: Json = False) -> None:
    """This machine's devices, and which job holds each."""
    from airloom.jobs import control

    found = control.list_devices(load())
    lines = (f"{d['device']:14} {d['key'] + ' attempt ' + str(d['attempt']) if d['key'] else 'free'}" for d in found)
    hint = "no devices; AIRLOOM_DEVICES=4 declares four that exist in name only"
    typer.echo(json.dumps(found, indent=1) if json_ else "\n".join(lines) or hint)


def _state(job: dict[str, Any]) -> str:
    return f"{job['state']} ({job['position']})" if job.get("position") else str(job["state"])


def _age(job: dict[str, Any]) -> str:
    """How long it has run, or waited."""
    begun = job["started"] or job["submitted"]
    return f"{(job['ended'] or time.time()) - begun:.0f} s"


def _describe(job: dict[str, Any]) -> str:
    stamps = {
        name: time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(job[name]))
        for name in ("submitted", "started", "ended")
        if job[name]
    }
    lines = {
        "attempt": f"{job['number']} of {job['key']}",
        "state": f"{_state(job)} {job['reason']}",
        "does": job["name"],
        **{name: f"{text} UTC" for name, text in stamps.items()},
        "host": f"{job['host']}, supervisor {job['owner']}, process {job['pid']}",
        "used": f"{job['cpu_seconds']:.1f} CPU-seconds, {job['peak_memory'] / 2**20:.0f} MiB at most"
        + (f", {job['device_seconds']:.1f} device-seconds" if job["wanted"] else ""),
        "devices": job["devices"],
        "task": ", ".join(f"{name} {value}" for name, value in job["task"].items()),
        "folder": job["folder"],
    }
    return "\n".join(f"{name:10} {text}" for name, text in lines.items() if text)
