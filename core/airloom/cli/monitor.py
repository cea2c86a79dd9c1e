"""`airloom monitor …`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from airloom.cli.console import Json, answer, say
from airloom.settings import load

if TYPE_CHECKING:
    from airloom.monitoring.decisions import RecordedDecision


class _ShowFirst(TyperGroup):
    """`airloom monitor digits` is `airloom monitor show digits`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """A word that is no command is a model."""
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            args = ["show", *args]
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=_ShowFirst,
    help="What was decided about a champion in service, and why: `airloom monitor digits`.",
    no_args_is_help=True,
)


@app.command()
def show(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    since: Annotated[str, typer.Option(help="When it was decided: 2026-11-30T14:00 (UTC), or 2h, 7d ago.")] = "",
    json_: Json = False,
) -> None:
    """Show what was decided about a model, the newest first; `airloom monitor digits` is the same.

    A data fault is quarantined. A metric of late labels that surely fell starts a run, where the pipeline file lets it.
    What is weak, or only estimated, asks a person. Drift explains. What a run trains serves only where it is better.

    Example: airloom monitor digits --since 7d
    """
    from airloom.monitoring import decisions
    from airloom.monitoring.moments import moment
    from airloom.quality.monitor import named, outcome_of

    settings, first = load(), moment(since, "since")
    settings.make_home()
    name = named(settings, model)
    found = decisions.of_model(settings.database_address, name, first.timestamp() if first else 0.0)
    told = [(one, outcome_of(settings, one)) for one in found]
    nothing = (
        f"nothing was decided about {model}{' since then' if since else ''}: `airloom monitor run {model}` looks now"
    )
    values = [one.to_dict() | {"run": one.run, "outcome": outcome} for one, outcome in told]
    answer(values, json_, "\n".join(_line(one, outcome) for one, outcome in told) or nothing)


@app.command()
def run(
    model: Annotated[str, typer.Argument(help="Name of the pipeline, or the path of its file.")],
    start: Annotated[
        bool, typer.Option("--start/--no-start", help="Start the run in Airflow, where one is decided.")
    ] = True,
    json_: Json = False,
) -> None:
    """Look at a model's champion now, decide, and keep the decision; as its DAG `<model>_monitor` does.

    Without `monitor:` in the pipeline file its defaults count, and a person is asked rather than a run started.

    Example: airloom monitor run digits
    """
    from airloom.pipeline.run import find_file
    from airloom.project import person
    from airloom.quality.monitor import look
    from airloom.spec.load import load_pipeline
    from airloom.spec.monitor import MonitorSection
    from airloom.stack.airflow_api import AirflowApi

    settings = load()
    settings.make_home()
    pipeline = load_pipeline(find_file(settings, model))
    section, who = pipeline.monitor or MonitorSection(), person.caller(settings).name
    found = look(settings, pipeline.pipeline, section, pipeline.dataset.name, by=who)
    outcome = ""
    if found.run and start:
        with AirflowApi(settings) as api:
            new = api.trigger_once(pipeline.pipeline, found.run, found.conf)
        outcome = "started" if new else "was started before"
        say(f"run {found.run} of {pipeline.pipeline} {outcome}")
    answer(found.to_dict() | {"run": found.run, "outcome": outcome}, json_, _line(found, outcome, notes=True))


def _line(one: "RecordedDecision", outcome: str, *, notes: bool = False) -> str:
    from airloom.names import shown_model
    from airloom.quality.window import shown_moment

    model = shown_model(one.model, load().installation)
    lines = [
        f"{shown_moment(one.at)}  {model}/{one.version}  {one.action.upper()}: {one.says}",
        f"  predictions {shown_moment(one.since)} to {shown_moment(one.until)}; {one.because}, {one.by}",
    ]
    if one.run:
        lines.append(f"  run {one.run} on {one.dataset}: {outcome or 'not there'}")
    return "\n".join(lines + [f"  {note}" for note in one.notes if notes])
