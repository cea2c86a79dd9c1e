"""`airloom model …` and `airloom experiment …`."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from airloom.cli.console import Json, answer, say
from airloom.settings import load

if TYPE_CHECKING:
    from airloom.deployment.record import Deployment
    from airloom.registry.model_records import ListedVersion

app = typer.Typer(help="Registered model versions, and which of them serves.", no_args_is_help=True)
experiment = typer.Typer(help="Pipeline runs and their candidates, side by side.", no_args_is_help=True)
Reference = Annotated[
    str,
    typer.Argument(
        help="digits/3, digits@previous, or digits for its champion; another installation's: prod.digits/3."
    ),
]


@app.command("list")
def list_(
    all_: Annotated[bool, typer.Option("--all", help="Those of other installations in this MLflow too.")] = False,
    json_: Json = False,
) -> None:
    """This installation's models and their versions, newest first."""
    from airloom.registry import models

    listed = models.list_models(load(), everybodys=all_)
    lines = [_line(model.name, version) for model in listed for version in model.versions]
    answer([model.to_dict() for model in listed], json_, "\n".join(lines) or "no registered models")


@app.command()
def show(version: Reference, json_: Json = False) -> None:
    """Where a version comes from: data, code, environment, parameters, metrics, decision, digests."""
    from airloom.registry import models

    details = models.show(load(), version)
    values = details.to_dict()
    texts = {name: _text(value) for name, value in values.items() if name != "packages"}
    texts |= {"signature": _ports(details.signature)}
    lines = [f"{name:20} {text}" for name, text in texts.items()]
    packages = f"{len(details.packages)}, in environment/requirements.txt of run {values.get('train_run', 'unknown')}"
    answer(values, json_, "\n".join([*lines, f"{'packages':20} {packages}"]))
    if details.refused:
        say(f"error: {details.refused}")
        sys.exit(1)


@app.command()
def card(
    version: Reference,
    html: Annotated[bool, typer.Option("--html", help="One HTML file, readable without any network.")] = False,
    output: Annotated[Path | None, typer.Option(help="Write there; standard output when left out.")] = None,
) -> None:
    """The model card, from evidence: data, metrics, slices, gate, limits, lineage, and what nobody measured."""
    from airloom.files import write_private
    from airloom.registry import card as cards
    from airloom.registry import card_pages, models

    settings = load()
    chosen = models.find(settings, version)
    composed = cards.card(settings, chosen.name, str(chosen.version))
    text = card_pages.page(composed) if html else card_pages.markdown(composed)
    if output is None:
        typer.echo(text, nl=False)
    else:
        write_private(output, text)
        typer.echo(f"{output}: the card of {composed.title}", err=True)


@app.command()
def promote(version: Reference, json_: Json = False) -> None:
    """Make a version the champion. Two promotions at once: one wins, the other is told."""
    from airloom.deployment import record
    from airloom.names import shown_model
    from airloom.registry import models
    from airloom.tracking.tags import NOT_JUDGED, Tag

    settings = load()
    chosen = models.find(settings, version)
    name = shown_model(chosen.name, settings.installation)
    if chosen.tags.get(Tag.GATE) == NOT_JUDGED:
        say(f"nobody judged {name}/{chosen.version}: its pipeline file had no gate")
    _print_deployment(record.deploy(settings, name, str(chosen.version)), name, as_json=json_)


@app.command("promote-from")
def promote_from(
    version: Annotated[str, typer.Argument(help="Of another installation: prod.digits/3, prod.digits@champion.")],
    pipeline: Annotated[str, typer.Option(help="Whose gate decides here; the one called like the model.")] = "",
    data: Annotated[int | None, typer.Option("--version", help="Dataset version; the newest when left out.")] = None,
    override: Annotated[str, typer.Option(help="Why it goes through in spite of a refusal.")] = "",
    by: Annotated[str, typer.Option(help="Who says so.")] = "",
    register_only: Annotated[bool, typer.Option("--register-only", help="Promote nothing.")] = False,
    json_: Json = False,
) -> None:
    """Take a version of another installation over, through this one's gate: compared with this one's champion.

    Its files are checked by their digests, tried by the server's checker and copied; its training stays linked. Where
    it was trained on other data or another split, there is no evidence, and it is refused: then only a person can let
    it through, with --override and --by, where the pipeline's gate says `override: ask`.
    """
    from airloom.cli.console import say
    from airloom.pipeline.promote_from import Override, render
    from airloom.pipeline.promote_from import promote_from as take

    settings = load()
    person = Override(by, override) if by or override else None
    result = take(settings, version, say, pipeline=pipeline, version=data, override=person, deploy=not register_only)
    answer(result.to_dict(), json_, render(result, settings.installation))
    if not result.version:
        sys.exit(1)


@app.command()
def sign(version: Reference, json_: Json = False) -> None:
    """Vouch for a version as it is in MLflow now: its files are compared with its digests, then signed with our key.

    For what was registered without a signature, or signed with a key that is lost or revoked. Look at it first:
    `airloom model show`, `airloom model diff`.
    """
    from airloom.registry import vouch
    from airloom.tracking.tags import Tag

    signed = vouch.sign_one(load(), version)
    values = {"name": signed.name, "version": str(signed.version), "signed": json.loads(signed.tags[Tag.SIGNED])}
    answer(values, json_, f"{signed.name}/{signed.version} is signed")


@app.command()
def rollback(model: Annotated[str, typer.Argument(help="Name of the model.")], json_: Json = False) -> None:
    """Make the previous champion the champion again; a version on its way is taken back, and the champion stays.

    The model servers serve it within two seconds. `airloom rollback` and `airloom model rollback` are the same.
    """
    from airloom.deployment import rollouts

    _print_deployment(rollouts.roll_back(load(), model), model, as_json=json_)


@app.command()
def diff(first: Reference, second: Reference, json_: Json = False) -> None:
    """What differs between two versions: parameters, metrics, data, code, packages, files."""
    from airloom.registry import models

    difference = models.diff(load(), first, second)
    lines = [f"{name:40} {_text(a)} -> {_text(b)}" for name, (a, b) in difference.values.items()]
    answer(difference.to_dict(), json_, "\n".join(lines) or "nothing differs")


@experiment.command("show")
def show_experiment(
    target: Annotated[str, typer.Argument(help="A pipeline: digits, prod.digits; or a run: its MLflow id or its key.")],
    json_: Json = False,
) -> None:
    """A pipeline's runs, or one run with the leaderboard of its candidates."""
    from airloom.tracking import experiments

    shown = experiments.show(load(), target)
    typer.echo(json.dumps(shown.to_dict(), indent=1) if json_ else experiments.render(shown))


@experiment.command()
def compare(
    runs: Annotated[list[str], typer.Argument(help="Two or more runs: MLflow ids or keys.")], json_: Json = False
) -> None:
    """What differs between runs: data, parameters, metrics, the gate's word."""
    from airloom.tracking import experiments

    comparison = experiments.compare(load(), runs)
    typer.echo(json.dumps(comparison.to_dict(), indent=1) if json_ else experiments.render_comparison(comparison))


def _print_deployment(deployment: "Deployment", model: str, *, as_json: bool) -> None:
    before = f", version {deployment.previous} is the previous one" if deployment.previous else ""
    text = f"{model} version {deployment.champion} is the champion{before} (generation {deployment.generation})"
    answer(deployment.to_dict(), as_json, text)


def _line(name: str, version: "ListedVersion") -> str:
    created = datetime.fromtimestamp(version.created / 1000, UTC).strftime("%Y-%m-%d %H:%M")
    aliases = " ".join(f"@{alias}" for alias in version.aliases)
    metrics = " ".join(f"{key} {version.metrics[key]:.4g}" for key in ("accuracy", "mae") if key in version.metrics)
    overridden = "overridden" if version.overridden else ""
    return f"{name}/{version.version:4} {created}  {version.dataset:16} {metrics:18} {overridden} {aliases}".rstrip()


def _ports(signature: dict[str, Any]) -> str:
    """What goes in and comes out, of MLflow's form of a signature: name, type and shape of each."""
    if "error" in signature or not signature:
        return _text(signature)
    sides = [json.loads(signature.get(side) or "[]") for side in ("inputs", "outputs")]
    return " -> ".join(", ".join(_port(port) for port in side) or "nothing" for side in sides)


def _port(port: dict[str, Any]) -> str:
    tensor = port.get("tensor-spec", {})
    shape = f" ({', '.join('any' if size == -1 else str(size) for size in tensor['shape'])})" if tensor else ""
    return f"{port.get('name', '')} {tensor.get('dtype', port['type'])}{shape}".strip()


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}={_short(entry)}" for name, entry in value.items())
    return "-" if value is None else str(value)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)[:24]
