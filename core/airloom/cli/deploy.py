"""`airloom deploy …`"""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from airloom.cli.console import Json, answer, say
from airloom.settings import load

if TYPE_CHECKING:
    from airloom.deployment.rollouts import Standing
    from airloom.settings import Settings
    from airloom.spec.deploy import DeploySection

app = typer.Typer(help="A version's way to serve: beside the champion first.", no_args_is_help=True)
Model = Annotated[str, typer.Argument(help="Name of the model.")]
Shares = Annotated[list[str] | None, typer.Option(help="Share of the requests, 10%; repeatable, one stage each.")]


@app.command()
def start(
    version: Annotated[str, typer.Argument(help="digits/3.")],
    shadow: Shares = None,
    canary: Shares = None,
    requests: Annotated[int, typer.Option(help="That it answers at least in each stage.")] = 500,
    within: Annotated[str, typer.Option(help="How long a stage may take; then the champion stays.")] = "1h",
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the end; the servers judge anyway.")] = True,
    json_: Json = False,
) -> None:
    """Let a version answer beside the champion, and make it the champion where it is surely no worse.

    The stages are those of the pipeline file's `deploy`, or first each --shadow, then each --canary. The model servers
    judge it at every moment; what is surely worse is taken back within seconds, and what nobody can tell at the stage's
    end leaves the champion where it is.
    """
    from airloom.deployment import rollouts, serving
    from airloom.deployment.rollout import Rollout
    from airloom.names import shown_model
    from airloom.project.person import caller
    from airloom.registry import models

    settings = load()
    chosen = models.find(settings, version)
    name, number = shown_model(chosen.name, settings.installation), str(chosen.version)
    stages = [{"shadow": share} for share in shadow or ()] + [{"canary": share} for share in canary or ()]
    limits = {"requests": requests, "within": within}
    section = _section([{**stage, **limits} for stage in stages]) if stages else _of_file(settings, name)
    begun = rollouts.begin(settings, name, Rollout.of(number, section, by=caller(settings).name))
    if not wait or begun.rollout is None:
        answer(begun.to_dict(), json_, f"{name}: {begun.rollout or f'version {begun.champion} is the champion'}")
        return
    ended = rollouts.wait(settings, name, begun, number, say)
    if ended.promoted:
        serving.wait_until_served(settings, name, number, 60, say)
    answer(ended.to_dict(), json_, f"{name}/{number} {ended}")
    if not ended.promoted:
        sys.exit(1)


@app.command()
def show(model: Model, json_: Json = False) -> None:
    """What serves, what is on its way, what was counted of it, and what would come of it now."""
    from airloom.deployment import rollouts

    stands = rollouts.standing(load(), model)
    answer(stands.to_dict(), json_, _shown(model, stands))


@app.command()
def stop(model: Model, json_: Json = False) -> None:
    """Take the version back that is on its way; the champion stays."""
    from airloom.deployment import rollouts
    from airloom.project.person import caller

    settings = load()
    record = rollouts.stop(settings, model, caller(settings).name)
    answer(record.to_dict(), json_, f"{model}: version {record.champion} stays the champion")


def _section(steps: list[dict[str, Any]]) -> "DeploySection":
    """What the options say.

    Raises:
        ConfigError: one of them is no share or no time.
    """
    from pydantic import ValidationError

    from airloom.errors import ConfigError
    from airloom.spec.deploy import DeploySection

    try:
        return DeploySection.model_validate({"steps": [*steps, "champion"]})
    except ValidationError as error:
        first = error.errors()[0]
        text = f"{first['input']!r}: {first['msg'].removeprefix('Value error, ')}"
        raise ConfigError(text[:300], "--canary 10% --requests 500 --within 1h") from None


def _of_file(settings: "Settings", model: str) -> "DeploySection":
    """What the model's pipeline file says.

    Raises:
        ConfigError: there is no such file, or it has no `deploy`.
    """
    from airloom.errors import ConfigError
    from airloom.pipeline.run import find_file
    from airloom.spec.load import load_pipeline

    section = load_pipeline(find_file(settings, model)).deploy
    if section is None or not section.stages:
        hint = (
            f"give them here: `airloom deploy start {model}/VERSION --canary 10%`; `airloom model promote` needs none"
        )
        raise ConfigError(f"the pipeline file of {model} has no stages in `deploy`", hint)
    return section


def _shown(model: str, stands: "Standing") -> str:
    record = stands.deployment
    by = f", {record['by']}" if record.get("by") else ""
    lines = [f"{model}: version {record['champion'] or 'none'} is the champion (generation {record['generation']}{by})"]
    if record.get("put_back"):
        lines.append(record["put_back"])
    if stands.verdict is not None and stands.counts is not None:
        rollout = record["rollout"]
        stage = rollout["stages"][rollout["at"]]
        lines.append(f"version {rollout['version']}: {stage['role']} {stage['share']:.0%} since {rollout['since']}")
        lines += [f"  {text}" for text in stands.verdict.seen]
        lines.append(f"  now: {stands.verdict.action} ({stands.verdict.reason})")
    lines += [f"{end['at']}  {end['stage']}: {end['ended']}" for end in stands.endings]
    return "\n".join(lines)
