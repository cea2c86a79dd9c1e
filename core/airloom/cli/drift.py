"""`airloom drift`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from airloom.cli.console import Json, answer, say
from airloom.settings import load

if TYPE_CHECKING:
    from airloom.quality.causes import Causes
    from airloom.quality.drift import DriftReport, RankedFeature
    from airloom.quality.estimate import EstimatedVersion

SHOWN = 20  # features
SHOWN_CAUSES = 5


def drift(
    model: Annotated[str, typer.Argument(help="digits for its champion, digits/3, digits@canary.")],
    since: Annotated[str, typer.Option(help="Of the predictions: 2026-11-30T14:00 (UTC), or 2h, 7d ago.")] = "",
    until: Annotated[str, typer.Option(help="The same; this moment is too late already.")] = "",
    window: Annotated[str, typer.Option(help="1h, 7d, or a number of rows, as 1000.")] = "1h",
    page: Annotated[
        Path | None, typer.Option("--html", metavar="FILE.html", help="Write a report with pictures.")
    ] = None,
    why: Annotated[bool, typer.Option("--why", help="Look for causes too; --html always does.")] = False,
    json_: Json = False,
) -> None:
    """Compare what a version is asked and answers with what it was trained on; features by drift.

    A data fault (a column gone null, a new category, a changed unit) stands before any drift. A feature drifts where
    its effect is large (PSI above 0.1, or KS above 0.09) and significant in two windows in a row of 200 rows and more.

    Inputs are compared as far as the prediction log keeps them. Drift explains; it does not say that a model is worse.

    --why tries to tell the newest window from training by all features together, ranks features by drift times
    importance, slices of the pipeline file by their part in the loss, and splits the change of the loss.

    Without labels the accuracy is estimated from logged scores, supposing no concept drift; labels check it later.

    Example: airloom drift digits --since 7d --window 1d --html drift.html
    """
    from airloom.errors import ConfigError
    from airloom.monitoring.moments import moment
    from airloom.quality.causes import causes
    from airloom.quality.drift import analyse
    from airloom.quality.estimate import estimate
    from airloom.quality.window import parse

    if page is not None and not page.resolve().parent.is_dir():
        raise ConfigError(f"there is no folder {str(page.resolve().parent)!r}", "make it, or name another file")
    first, last = moment(since, "since"), moment(until, "until")
    settings, length = load(), parse(window)
    found = analyse(settings, model, since=first, until=last, window=length)
    estimated = estimate(settings, model, since=first, until=last, window=length)
    looked = causes(settings, model, since=first, until=last, window=length) if why or page is not None else None
    if page is not None:
        from airloom.quality.drift_page import render

        page.write_text(render(found, estimated, looked), encoding="utf-8")
        say(f"written to {page}")
    values = found.report.to_dict() | {"estimate": estimated.to_dict(), "causes": looked.to_dict() if looked else None}
    lines = [_text(found.report), *_estimated(estimated), *(_causes(looked) if looked else [])]
    answer(values, json_, "\n".join(lines))


def _text(report: "DriftReport") -> str:
    head = f"{report.model}/{report.version}: {report.rows:,} predictions in {len(report.windows)} windows"
    lines = [report.headline, f"{head} of {report.window}, trained on {report.dataset}"]
    lines += [f"  {note}" for note in report.notes]
    told = [one for one in report.features if one.windows or one.verdict != "nothing to say"]
    width = max((len(one.name) for one in told[:SHOWN]), default=0)
    lines += [_line(one, width) for one in told[:SHOWN]]
    if len(told) > SHOWN:
        lines.append(f"  {len(told) - SHOWN} more features: --json has them")
    silent = [one for one in report.features if one not in told]
    if silent:
        some = "; ".join(f"{one.name}: {one.says}" for one in silent[:3])
        lines.append(f"  nothing to say of {len(silent)} features: {some}{'; …' if len(silent) > 3 else ''}")
    return "\n".join(lines)


def _estimated(found: "EstimatedVersion") -> list[str]:
    """The newest estimate, what it supposes, and how estimates did."""
    one = found.newest
    if one is None:
        return [f"without labels {found.why}" if found.why.startswith("nothing") else f"no estimate: {found.why}"]
    finding = ": WORSE than in training" if one.worse and one.trusted else ""
    lines = [
        f"estimated {one.metric} without labels {one.value:.3f} ({one.low:.3f} to {one.high:.3f}) of {one.rows:,} "
        f"answers, in training {one.baseline:.3f}{finding}",
        f"  it supposes that {found.assumption}",
        f"  {one.why}",
    ]
    if one.measured is not None:
        lines.append(f"  measured of {one.labelled:,} of them: {one.measured:.3f}")
    return lines


def _causes(found: "Causes") -> list[str]:
    """The test of all features, the first causes, and what they are causes of."""
    test, change = found.test, found.change
    if test.says:
        lines = [f"all features together: nothing is said: {test.says}"]
    else:
        finding = "the newest window is told from training" if test.differ else "no difference"
        lines = [f"all features together: {finding}, AUC {test.auc:.3f} ({test.low:.3f} to {test.high:.3f})"]
    lines += [
        f"  {one.name}: {one.weight:.0%} of drift times importance (PSI {one.psi:.3f}, importance {one.importance:.0%})"
        for one in found.features[:SHOWN_CAUSES]
    ]
    if change is not None:
        lines.append(f"{found.loss} {change.after:.3f}, in the test split {change.before:.3f}")
        parts = {"by other rows": change.covariate, "by what rows mean": change.concept}
        ends = (change.covariate_interval, change.concept_interval)
        lines += [f"  not split: {change.says}"] if change.says else [
            f"  {name} {value:+.3f} ({low:+.3f} to {high:+.3f})"
            for (name, value), (low, high) in zip(parts.items(), ends, strict=True)
        ]  # fmt: skip
    lines += [
        f"  slice {one.name}: {one.loss:.3f} of {one.rows:,} rows, before {one.loss_before:.3f}"
        for one in found.slices[:SHOWN_CAUSES]
    ]
    return [*lines, *(f"  {note}" for note in found.notes)]


def _line(one: "RankedFeature", width: int) -> str:
    ks = f", KS {one.ks:.3f}" if one.ks else ""
    numbers = f"PSI {one.psi:.3f}{ks}, moved in {one.moved} of {one.windows} windows" if one.windows else ""
    return f"  {one.name:{width}}  {one.verdict}  {numbers}{'; ' if numbers and one.says else ''}{one.says}".rstrip()
