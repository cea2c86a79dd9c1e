"""A model card as Markdown and as one HTML file. Names and messages are escaped: whatever they hold stays text."""

import html
import re

from airloom.registry.card import NOT_JUDGED, NOT_MEASURED, Card, Fact

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = (
    "body{font:15px/1.45 sans-serif;margin:2em auto;max-width:60em;padding:0 1em;color:#222}"
    "table{border-collapse:collapse;width:100%;table-layout:fixed}"
    "td{padding:.3em .8em .3em 0;border-bottom:1px solid #ddd;vertical-align:top;overflow-wrap:anywhere}"
    "td:first-child{width:22%}td:last-child{width:34%;color:#555;font-size:.9em}.missing{color:#a4161a}"
)
_MISSING = {NOT_MEASURED: "measured by", NOT_JUDGED: "judged by"}  # what its command is said to be
_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+!|~-])")


def markdown(card: Card) -> str:
    """The card as Markdown, as MLflow and git show it."""
    lines = [f"# Model card: {_plain(card.title)}"]
    for title, facts in card.sections.items():
        lines += ["", f"## {_plain(title)}", "", "| | | evidence |", "|---|---|---|"]
        lines += [f"| {_plain(fact.name)} | {_plain(fact.value)} | {_source(fact)} |" for fact in facts]
    return "\n".join(lines) + "\n"


def page(card: Card) -> str:
    """The card as an HTML page that loads nothing and runs nothing."""
    title = html.escape(f"Model card: {card.title}")
    head = f'<meta charset=utf-8><meta http-equiv=Content-Security-Policy content="{_POLICY}"><title>{title}</title>'
    parts = [f"<!doctype html><html lang=en><head>{head}<style>{_STYLE}</style></head><body><h1>{title}</h1>"]
    for name, facts in card.sections.items():
        rows = "".join(_row(fact) for fact in facts)
        parts.append(f"<h2>{html.escape(name)}</h2><table>{rows}</table>")
    return "\n".join([*parts, "</body></html>"])


def _row(fact: Fact) -> str:
    missing = _MISSING.get(fact.value, "")
    evidence = html.escape(fact.evidence)
    if missing:
        evidence = f"{missing}: <code>{evidence}</code>"
    elif fact.link:
        evidence = f'<a href="{html.escape(fact.link)}">{evidence}</a>'
    mark = " class=missing" if missing else ""
    return f"<tr><td>{html.escape(fact.name)}<td{mark}>{html.escape(fact.value)}<td>{evidence}"


def _source(fact: Fact) -> str:
    if missing := _MISSING.get(fact.value):
        return f"{missing}: {_plain(fact.evidence)}"
    return f"[{_plain(fact.evidence)}](<{_address(fact.link)}>)" if fact.link else _plain(fact.evidence)


def _plain(text: str) -> str:
    """As text in a cell of a Markdown table: no mark-up, no HTML, one line."""
    return _SPECIAL.sub(r"\\\1", html.escape(" ".join(text.split()), quote=False))


def _address(link: str) -> str:
    return re.sub(r"[<>\s\\|]", lambda match: f"%{ord(match[0]):02X}", link)
