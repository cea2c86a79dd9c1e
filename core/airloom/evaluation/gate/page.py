"""The gate's decision for people: one HTML file with its pictures inside, readable without any network."""

import base64
import html
from typing import Any

from airloom.evaluation import figures
from airloom.evaluation.gate.decide import GateOutcome, PairedComparison
from airloom.evaluation.gate.figures import interval
from airloom.evaluation.predictions import PredictedRows

_STYLE = (
    "body{font:15px/1.45 sans-serif;margin:2em auto;max-width:60em;color:#222}"
    "table{border-collapse:collapse;margin:1em 0}"
    "td,th{padding:.25em 1em;border-bottom:1px solid #ddd;text-align:left}img{max-width:48%;vertical-align:top}"
    ".passed{color:#176d2c}.refused{color:#a4161a}code{font-size:.9em}"
)


_SHOWN = ("accuracy", "log_loss", "mae", "mse")  # of slices


def render(evidence: dict[str, Any], outcome: GateOutcome, rows: PredictedRows | None) -> str:
    """The whole page.

    Args:
        evidence: what `evidence.json` holds.
        outcome: the decision.
        rows: the predictions, None where they could not be read.
    """
    verdict = "Passed" if outcome.passed else "Refused"
    parts = [
        f"<!doctype html><meta charset=utf-8><title>Gate: {verdict}</title><style>{_STYLE}</style>",
        f"<h1 class={verdict.lower()}>{verdict}</h1>",
        f"<ul>{''.join(f'<li>{html.escape(reason)}' for reason in outcome.reasons)}</ul>",
        _metrics(evidence),
        _comparison(evidence, outcome),
        _slices(evidence),
        _pictures(rows),
        _origin(evidence),
    ]
    return "\n".join(part for part in parts if part)


def without_news(reasons: list[str]) -> str:
    """The page of a run whose model is the champion itself: there are no figures to show."""
    items = "".join(f"<li>{html.escape(reason)}" for reason in reasons)
    title = f"<!doctype html><meta charset=utf-8><title>Gate: nothing new</title><style>{_STYLE}</style>"
    return f"{title}\n<h1>Nothing new</h1>\n<ul>{items}</ul>"


def _metrics(evidence: dict[str, Any]) -> str:
    ours, theirs = evidence["metrics"], evidence["champion_metrics"]
    version = evidence["champion_version"]
    rows = [[name, _number(value), _number(theirs.get(name))] for name, value in ours.items()]
    task = evidence.get("task")
    title = f"Metrics on the test split{f', task {html.escape(task)}' if task else ''}"
    return f"<h2>{title}</h2>" + _table(
        ["metric", "candidate", f"champion, version {version}" if version else "no champion"], rows
    )


def _comparison(evidence: dict[str, Any], outcome: GateOutcome) -> str:
    if outcome.comparison is None:
        return ""
    rule, tries, comparison = evidence["policy"]["against_champion"], evidence["tries"], outcome.comparison
    margin = rule["non_inferior_by"] or 0.0
    rows = [
        ["rows", str(comparison.rows)],
        *_drawn(comparison, rule),
        ["gain", f"{comparison.effect:+.5f}"],
        ["interval, two-sided", f"{comparison.interval[0]:+.5f} to {comparison.interval[1]:+.5f}"],
        *([f"lower bound, {name}", f"{bound:+.5f}"] for name, bound in comparison.bounds.items()),
        *([["p-value", f"{comparison.p_value:.5f}"]] if comparison.p_value is not None else []),
        ["try on this test split", f"{tries['first']} to {tries['last']}"],
        ["alpha", f"{tries['alpha']:.5f} of {tries['of']}, after the correction for tries"],
        ["power", f"{comparison.power:.3f} at a true gain of {rule['planned']['effect']}"],
    ]
    image = _image(interval(comparison, margin, rule["metric"]), "the interval of the gain", "100%")
    return f"<h2>Against the champion</h2>{image}{_table(['', ''], rows)}"


def _drawn(comparison: PairedComparison, rule: dict[str, Any]) -> list[list[str]]:
    """On how many rows one model is better; of a metric of all rows what was drawn."""
    if comparison.units is None:
        return [["better, worse", f"{comparison.better}, {comparison.worse}"]]
    what = f"groups by {rule['group']}" if rule.get("group") else "rows"
    return [["drawn", f"{comparison.units} {what}"]]


def _slices(evidence: dict[str, Any]) -> str:
    if not evidence["slices"]:
        return ""
    metric = evidence["policy"]["against_champion"]["metric"]
    shown = list(dict.fromkeys(["rows", *_SHOWN, metric]))
    if evidence.get("task"):  # only what its slices have
        shown = [name for name in shown if any(name in part for part in evidence["slices"].values())]
    rows = [[name, *(_number(part.get(metric)) for metric in shown)] for name, part in evidence["slices"].items()]
    return "<h2>Slices</h2>" + _table(["slice", *shown], rows)


def _pictures(rows: PredictedRows | None) -> str:
    if rows is None:
        return ""
    if rows.kind != "classification":
        paints = rows.task.draw(rows.of(rows.candidate)) if rows.given else {}
        images = [_image(figures.picture(paint), f"{name} of the candidate") for name, paint in paints.items()]
        return f"<h2>The candidate</h2>{''.join(images)}" if images else ""
    images = [_image(figures.confusion_matrix(rows, rows.candidate), "confusion matrix of the candidate")]
    if rows.champion:
        images.append(_image(figures.confusion_matrix(rows, rows.champion), "confusion matrix of the champion"))
    return f"<h2>Confusion: candidate{', champion' if rows.champion else ''}</h2>{''.join(images)}"


def _origin(evidence: dict[str, Any]) -> str:
    rows = [
        ["dataset", evidence["dataset"]],
        ["snapshot", evidence["snapshot"]],
        ["test split, sha256", evidence["test_split"]],
        ["predictions", f"{evidence['predictions']['path']}, sha256 {evidence['predictions']['sha256']}"],
        ["candidates", ", ".join(evidence["candidates"])],
    ]
    return "<h2>Where it comes from</h2>" + _table(["", ""], rows)


def _table(head: list[str], rows: list[list[str]]) -> str:
    title = f"<tr>{''.join(f'<th>{html.escape(name)}' for name in head)}" if any(head) else ""
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}' for cell in row)}" for row in rows)
    return f"<table>{title}{body}</table>"


def _number(value: Any) -> str:
    return "" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)


def _image(data: bytes, says: str, width: str = "") -> str:
    style = f" style='max-width:{width}'" if width else ""
    return f"<img alt='{says}'{style} src='data:image/png;base64,{base64.b64encode(data).decode()}'>"
