"""A drift report for people: one HTML file with its pictures inside, readable without any network."""

import html
from typing import TYPE_CHECKING

import numpy as np

from airloom.evaluation.figures import picture
from airloom.monitoring.drift_reference import NUMBER, Counted, FeatureReference
from airloom.quality.causes import Causes
from airloom.quality.causes_page import estimate_section, sections
from airloom.quality.drift import SILENT, Analysis, RankedFeature
from airloom.quality.estimate import EstimatedVersion
from airloom.quality.page import image, table
from airloom.quality.window import shown_moment

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DRAWN = 8  # features
MOST_BARS = 15  # categories
LONGEST = 24  # characters of a name in a picture
_STYLE = (
    "body{font:15px/1.45 sans-serif;margin:2em auto;max-width:60em;color:#222}"
    "table{border-collapse:collapse;margin:1em 0}"
    "td,th{padding:.25em 1em;border-bottom:1px solid #ddd;text-align:left}img{max-width:48%;vertical-align:top}"
    ".fault,.drift{color:#a4161a}.steady{color:#176d2c}"
)


def render(analysis: Analysis, estimated: EstimatedVersion | None = None, causes: Causes | None = None) -> str:
    """The whole page; its first line says whether a data fault, drift or neither was found.

    Args:
        analysis: of the drift.
        estimated: accuracies without labels; None for a page without.
        causes: of a change; None for a page without.
    """
    report = analysis.report
    style = {"data fault": "fault", "drift": "drift", "steady": "steady"}.get(report.verdict, "")
    title = f"{report.model}/{report.version}"
    rule = report.rule
    facts = [
        ["predictions", f"{report.rows:,} in {len(report.windows)} windows of {report.window}"],
        ["trained on", report.dataset],
        ["reference, sha256", report.reference],
        ["moved", f"PSI above {rule.psi:g} or KS above {rule.ks:g}, and a corrected p-value below {rule.alpha:g}"],
        ["drift", f"moved in {rule.windows} windows in a row of at least {rule.rows} rows"],
    ]
    parts = [
        f"<!doctype html><meta charset=utf-8><title>Drift: {html.escape(title)}</title><style>{_STYLE}</style>",
        f"<h1 class='{style}'>{html.escape(report.headline)}</h1>",
        f"<h2>{html.escape(title)}</h2>{table(['', ''], facts)}",
        f"<ul>{''.join(f'<li>{html.escape(note)}' for note in report.notes)}</ul>" if report.notes else "",
        *(estimate_section(estimated) if estimated else []),
        *(sections(causes) if causes else []),
        "<h2>Features by drift</h2>",
        table(["feature", "", "PSI", "KS", "p, corrected", "moved", ""], [_row(one) for one in report.features]),
        *(_pictures(analysis, one) for one in report.features[:DRAWN] if one.verdict != SILENT or one.windows),
    ]
    return "\n".join(part for part in parts if part)


def _row(one: RankedFeature) -> list[str]:
    if one.verdict == SILENT or not one.windows:
        return [one.name, one.verdict, "", "", "", "", one.says]
    since = f"since {shown_moment(one.drifted)}" if one.drifted and not one.says else one.says
    moved = f"{one.moved} of {one.windows}"
    return [one.name, one.verdict, f"{one.psi:.3f}", f"{one.ks:.3f}", f"{one.adjusted:.2g}", moved, since]


def _pictures(analysis: Analysis, one: RankedFeature) -> str:
    reference, newest = analysis.references[one.name], analysis.newest.get(one.name)
    place = list(analysis.references).index(one.name)
    told = [(window.end, window.features[place]) for window in analysis.report.windows]
    lines = [(end, feature.psi) for end, feature in told if not feature.says]
    drawn = [image(picture(lambda axes: _over_time(axes, lines, analysis.report.rule.psi), (5, 2.6)), "PSI by window")]
    if newest is not None:
        drawn.insert(0, image(picture(lambda axes: _shares(axes, reference, newest), (5, 2.6)), "shares of rows"))
    return f"<h3>{html.escape(one.name)}: {html.escape(one.verdict)}</h3>{''.join(drawn)}"


def _shares(axes: "Axes", reference: FeatureReference, newest: Counted) -> None:
    """The share of rows in each bin or category, and of those without a value, in training and in the newest window."""
    before, after = np.array(reference.counts, float), np.array(newest.counts, float)
    names = _names(reference)
    if len(before) > MOST_BARS and reference.kind != NUMBER:
        chosen = np.sort(np.argsort(-(before + after), kind="stable")[:MOST_BARS])
        before, after, names = before[chosen], after[chosen], [names[place] for place in chosen.tolist()]
    before, after = np.append(before, reference.nulls), np.append(after, newest.nulls)
    places = np.arange(len(before))
    axes.bar(places - 0.2, before / max(reference.rows, 1), 0.4, label="training", color="tab:gray")
    axes.bar(places + 0.2, after / max(newest.rows, 1), 0.4, label="newest window", color="tab:orange")
    shown = list(zip(places.tolist(), [*names, "null"], strict=True))
    shown = [
        pair for place, pair in enumerate(shown) if len(shown) <= MOST_BARS + 1 or place % 5 == 0 or pair[1] == "null"
    ]
    axes.set_xticks([at for at, _ in shown], [name for _, name in shown], rotation=60, fontsize=7, parse_math=False)
    axes.set_ylabel("share of rows")
    axes.legend(fontsize=7)


def _names(reference: FeatureReference) -> list[str]:
    if reference.kind == NUMBER:
        return [*(f"{edge:.4g}" for edge in reference.edges), "above"]
    return [*(name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…" for name in reference.categories), "others"]


def _over_time(axes: "Axes", lines: list[tuple[float, float]], limit: float) -> None:
    axes.plot(range(len(lines)), [value for _, value in lines], marker="o", ms=3)
    axes.axhline(limit, color="tab:red", ls="--", lw=0.8)
    step = max(1, len(lines) // 6)
    places = list(range(0, len(lines), step))
    axes.set_xticks(places, [shown_moment(lines[place][0])[5:] for place in places], rotation=30, fontsize=7)
    axes.set(ylabel="PSI", ylim=(0, None))
