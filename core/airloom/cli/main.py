"""The `airloom` command. Each command imports what it needs when it runs, so that `--help` is quick."""

import json
import os
import sys
from typing import Annotated, Any

import typer

from airloom.cli import (
    db,
    gate,
    gc,
    init,
    installation,
    jobs,
    keys,
    labels,
    lineage,
    models,
    pipelines,
    reproduce,
    studies,
)
from airloom.cli import deploy as deploying
from airloom.cli import drift as drifting
from airloom.cli import metrics as measured
from airloom.cli import monitor as monitoring
from airloom.cli import package as packaging
from airloom.cli import predict as predicting
from airloom.cli import predictions as logged
from airloom.cli.console import Json, parse_parameters, say
from airloom.cli.datasets import app as dataset_app
from airloom.cli.tokens import app as token_app
from airloom.errors import AirloomError
from airloom.settings import Settings, load

app = typer.Typer(
    help="From a committed dataset to a served, traceable model: `airloom demo` shows it on real data.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.command()
def up(json_: Json = False) -> None:
    """Start MLflow, Airflow and the model server on loopback, and wait until they are healthy."""
    from airloom.stack import control

    settings = load()
    say(f"project {settings.project}, state in {settings.home}")
    control.up(settings, say)
    _print_addresses(settings, as_json=json_)


@app.command()
def down() -> None:
    """Stop the stack and end whatever a crash of it left behind."""
    from airloom.stack import control

    ended = control.down(load(), say)
    say("the stack is down" if ended else "nothing was running")


@app.command()
def status(json_: Json = False) -> None:
    """Show each process with its health, and what serves."""
    from airloom.stack import report

    settings = load()
    stack = report.status(settings)
    typer.echo(json.dumps(stack.to_dict(), indent=1) if json_ else report.render_status(stack))
    if not stack.healthy:
        sys.exit(1)


@app.command()
def env(json_: Json = False) -> None:
    """Print what lets plain MLflow in a shell use this installation's MLflow: `eval "$(airloom env)"`."""
    import shlex

    from airloom.tracking.runs import LOGIN

    settings = load()
    values = {"MLFLOW_TRACKING_URI": settings.mlflow_uri}
    values |= dict(zip(LOGIN, settings.mlflow_credentials or (), strict=False))
    lines = [f"export {name}={shlex.quote(value)}" for name, value in values.items()]
    typer.echo(json.dumps(values, indent=1) if json_ else "\n".join(lines))


@app.command()
def doctor(json_: Json = False) -> None:
    """Name what is wrong with this machine or stack, and the fix."""
    from airloom.stack import report

    findings = report.doctor(load())
    plain = [finding.to_dict() for finding in findings]
    typer.echo(json.dumps(plain, indent=1) if json_ else report.render_doctor(findings))
    if not all(finding.ok for finding in findings):
        sys.exit(1)


@app.command()
def demo(
    stop: Annotated[bool, typer.Option("--stop", help="End the stack after the summary.")] = False,
    json_: Json = False,
) -> None:
    """Take scikit-learn's digits through the whole loop: two dataset versions, a promotion, a refusal.

    Outside a clone of Airloom the demo has a project of its own, in the folder `airloom_demo`.
    """
    from airloom.demo import scenario, summary, view
    from airloom.project.scaffold import demo as project_of_demo

    settings = load()
    if (project := project_of_demo(settings.project)) != settings.project:
        named = settings.home != settings.project / ".airloom"
        settings = Settings(home=settings.home if named else project / ".airloom", project=project)
        os.environ["AIRLOOM_HOME"], os.environ["AIRLOOM_PROJECT"] = str(settings.home), str(project)
        say(f"the demo's project is {project}: `cd {project.name}` to look at it with `airloom`")
    with view.live() as show:
        results = scenario.run(settings, show)
    typer.echo(json.dumps(results, indent=1) if json_ else summary.render(results))
    if stop:
        down()
    else:
        say("the stack stays up until `airloom down`")


@app.command()
def run(
    pipeline: Annotated[str, typer.Argument(help="A pipeline's name, or the path of its file.")],
    version: Annotated[int | None, typer.Option(help="Dataset version; the newest when left out.")] = None,
    parameter: Annotated[list[str] | None, typer.Option("--parameter", "-p", help="name=value, repeatable.")] = None,
    key: Annotated[str, typer.Option(help="Continue the run with this key.")] = "",
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Run every step, whatever earlier runs did.")] = False,
    json_: Json = False,
) -> None:
    """Run all steps of a pipeline here, without Airflow."""
    from airloom.pipeline.run import find_file, run_pipeline

    settings = load()
    file = find_file(settings, pipeline)
    values = parse_parameters(parameter or [])
    result = run_pipeline(settings, file, say, version=version, parameters=values, key=key, cache=not no_cache)
    if json_:
        typer.echo(json.dumps(result, indent=1))
        return
    measured = result["evaluation"]["metrics"] if "evaluation" in result else {}
    metrics = "".join(f"; {name} {value:.4g}" for name, value in measured.items())
    typer.echo(f"{result['context']['key']}: {_verdict(result)}{metrics}")


def _verdict(result: dict[str, Any]) -> str:
    """What became of a run's candidate."""
    gate, registered = result["gate"], result.get("registered")
    if gate["nothing_new"]:
        return str(gate["reasons"][0])
    if registered is None:
        return "the gate refused the candidate"
    if "rollout" in result and result["rollout"]["outcome"] != "promoted":
        return f"version {registered['version']} does not serve, {result['rollout']['outcome']}"
    if "deployment" in result:
        return f"version {registered['version']} is the champion"
    judged = "" if gate["judged"] else ", nobody judged it"
    return f"version {registered['version']} is registered{judged}, and serves once a person promotes it"


def _print_addresses(settings: Settings, *, as_json: bool) -> None:
    stack = settings.stack
    names = ("airflow_url", "airflow_user", "airflow_password", "mlflow_url", "server_url", "server_token")
    values = {name: stack[name] for name in names}
    user, password = settings.mlflow_credentials or ("", "")
    values |= {"mlflow_user": user, "mlflow_password": password}
    if as_json:
        typer.echo(json.dumps(values, indent=1))
        return
    typer.echo(f"Airflow       {values['airflow_url']}   login {values['airflow_user']} / {values['airflow_password']}")
    login = f"   login {user} / {password}" if user else ""
    typer.echo(f"MLflow        {values['mlflow_url']}{login}")
    typer.echo(f"model server  {values['server_url']}   token {values['server_token']}")


# Once, not in `main`: typer builds what was added so often.
app.command()(init.init)
app.add_typer(pipelines.app, name="pipeline")
app.add_typer(dataset_app, name="dataset")
app.add_typer(jobs.app, name="jobs")
app.add_typer(db.app, name="db")
app.command()(installation.installation)
app.add_typer(gate.app, name="gate")
app.add_typer(models.app, name="model")
app.add_typer(deploying.app, name="deploy")
app.add_typer(keys.app, name="keys")
app.add_typer(token_app, name="token")
app.add_typer(labels.app, name="labels")
app.command()(drifting.drift)
app.add_typer(monitoring.app, name="monitor")
app.add_typer(models.experiment, name="experiment")
app.command()(predicting.predict)
app.command()(packaging.package)
app.command()(models.rollback)
app.command()(logged.predictions)
app.command()(measured.metrics)
app.command()(lineage.trace)
app.command()(lineage.impact)
app.command()(lineage.why)
app.command()(jobs.devices)
app.command()(gc.gc)
app.command()(studies.tune)
app.add_typer(studies.app, name="study")
app.command()(reproduce.reproduce)
app.command()(reproduce.check_determinism)


def main() -> None:
    """Run a command; an AirloomError becomes its message on standard error and exit code 1."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    try:
        settings = load()
        os.environ["AIRLOOM_HOME"], os.environ["AIRLOOM_PROJECT"] = str(settings.home), str(settings.project)
        if not os.access(os.environ.get("HOME", ""), os.W_OK):
            from airloom.stack.config import writable_home

            os.environ |= writable_home(settings)  # else some library makes the folder that HOME names
        app()
    except AirloomError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)
    except OSError as error:  # a full disk, a path that is none: whatever the command could not say better
        place = f": {error.filename}" if error.filename else ""
        typer.echo(f"error: {error.strerror or error}{place}\n  -> look at that path and its disk", err=True)
        sys.exit(1)
