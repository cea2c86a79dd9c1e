"""Estimates and causes on the page of a drift report."""

import html
from typing import TYPE_CHECKING

from airloom.evaluation.figures import picture
from airloom.quality.causes import Causes
from airloom.quality.estimate import EstimatedVersion
from airloom.quality.page import image, table
from airloom.quality.window import shown_moment

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN = 12  # features, and slices
LONGEST = 24  # characters of a name in a picture


def estimate_section(found: EstimatedVersion) -> list[str]:
    """Accuracies without labels: what they suppose, how they did, and a picture of all windows."""
    head, one = "<h2>Accuracy without labels</h2>", found.newest
    if one is None:
        return [head, f"<p>{html.escape(found.why)}"]
    facts = [
        ["newest window", f"{one.value:.3f} ({one.low:.3f} to {one.high:.3f}) of {one.rows:,} answers"],
        ["in training", f"{one.baseline:.3f}"],
        ["supposed", found.assumption],
        ["checked by labels", one.why],
    ]
    drawn = picture(lambda axes: _over_time(axes, found), (7, 2.8))
    return [head, table(["", ""], facts), image(drawn, "estimated and measured accuracy by window")]


def _over_time(axes: "Axes", found: EstimatedVersion) -> None:
    places = list(range(len(found.windows)))
    lows, highs = [one.low for one in found.windows], [one.high for one in found.windows]
    if len(places) == 1:
        axes.errorbar(
            [0], [found.windows[0].value], [[found.windows[0].value - lows[0]], [highs[0] - found.windows[0].value]]
        )
    axes.fill_between(places, lows, highs, alpha=0.3, label="95 %")
    axes.plot(places, [one.value for one in found.windows], marker="o", ms=3, label="estimated")
    measured = [(place, one.measured) for place, one in enumerate(found.windows) if one.measured is not None]
    if measured:
        axes.plot(*zip(*measured, strict=True), "x", color="tab:red", label="measured")
    axes.axhline(found.baseline, color="tab:gray", ls="--", lw=0.8, label="in training")
    step = max(1, len(places) // 6)
    names = [shown_moment(found.windows[place].end)[5:] for place in places[::step]]
    axes.set_xticks(places[::step], names, rotation=30, fontsize=7)
    axes.set_ylabel("accuracy")
    axes.legend(fontsize=7)


def sections(found: Causes) -> list[str]:
    """All features together, features and slices by their part, and the change of the loss."""
    parts, test = ["<h2>Causes</h2>"], found.test
    if test.says:
        parts.append(f"<p>All features together: nothing is said: {html.escape(test.says)}")
    else:
        finding = "The newest window is told from training" if test.differ else "The newest window is as training"
        parts.append(
            f"<p>{finding} by a classifier of all features: AUC {test.auc:.3f} ({test.low:.3f} to {test.high:.3f}), "
            f"p {test.p:.2g}, of {test.rows[0]:,} and {test.rows[1]:,} rows. 0.5: it cannot tell them apart."
        )
    if found.features:
        some = found.features[:SHOWN]
        rows = [
            [one.name, f"{one.weight:.0%}", f"{one.psi:.3f}", f"{one.separates:.0%}", _share(one.answers)]
            for one in some
        ]
        names = [one.name for one in some]
        parts.append("<h3>Features by drift times importance</h3>")
        parts.append(table(["feature", "part", "PSI", "tells apart", "in the answers"], rows))
        parts.append(_bars(names, [one.weight for one in some], "part of drift times importance"))
    return [
        *parts,
        *_losses(found),
        *([f"<ul>{''.join(f'<li>{html.escape(one)}' for one in found.notes)}</ul>"] if found.notes else []),
    ]


def _losses(found: Causes) -> list[str]:
    parts, change = list[str](), found.change
    if change is not None:
        ends = f"{shown_moment(found.labelled_window[0])} to {shown_moment(found.labelled_window[1])}"
        parts.append(f"<h3>{html.escape(found.loss.capitalize())} of the labelled rows, {ends}</h3>")
        rows = [["test split", f"{change.before:.3f}", ""], ["window", f"{change.after:.3f}", ""]]
        if change.says:
            rows.append(["not split", change.says, ""])
        else:
            rows += [
                ["by other rows", f"{change.covariate:+.3f}", _ends(change.covariate_interval)],
                ["by what rows mean", f"{change.concept:+.3f}", _ends(change.concept_interval)],
            ]
        parts.append(table(["", "", "95 %"], rows))
    if found.slices:
        some = found.slices[:SHOWN]
        rows = [
            [
                one.name,
                f"{one.rows:,}",
                f"{one.loss_before:.3f}",
                f"{one.loss:.3f}",
                f"{one.part:+.3f}",
                f"{one.excess:+.3f}",
            ]
            for one in some
        ]
        parts.append("<h3>Slices by what they lost beyond all rows</h3>")
        parts.append(table(["slice", "rows", "before", "now", "part of the change", "beyond all"], rows))
        parts.append(_bars([one.name for one in some], [one.excess for one in some], "loss beyond all rows"))
    return parts


def _bars(names: list[str], values: list[float], label: str) -> str:
    def paint(axes: "Axes") -> None:
        places = list(range(len(names)))
        axes.barh(places, values, color="tab:orange")
        short = [name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…" for name in names]
        axes.set_yticks(places, short, fontsize=7, parse_math=False)
        axes.invert_yaxis()
        axes.set_xlabel(label)

    return image(picture(paint, (5, 0.8 + 0.25 * len(names))), label)


def _share(value: float) -> str:
    return "not known" if value < 0 else f"{value:.0%}"


def _ends(interval: tuple[float, float]) -> str:
    return f"{interval[0]:+.3f} to {interval[1]:+.3f}"
