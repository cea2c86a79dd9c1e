"""A validation result as Great Expectations' Data Docs page, to be read without a network and without trust."""

import re
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from airloom.files import write_private

# Dataset values stand in the page unescaped: no script may run, and nothing may be loaded, whatever they contain.
POLICY = (
    '<meta http-equiv="Content-Security-Policy" '
    "content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">"
)
OUTSIDE = re.compile(r"<script\b.*?</script>|<link\b[^>]*>|<img\b[^>]*>", re.DOTALL)
ELSEWHERE = re.compile(r'\bhref="(?!#)[^"]*"')  # to pages of a site of which this page is no part
BRACKETS = str.maketrans("<>", "\u2039\u203a")  # HTML escapes would be escaped again in some places of the page
MOST = 10  # findings that stand above Great Expectations' own tables


@dataclass(frozen=True)
class Finding:
    """An expectation that was not met."""

    column: str  # "table" where it is about all of it
    expectation: str
    rows: str  # how many rows did not meet it; empty where it is not about rows
    found: str


def render(result: dict[str, Any], subject: str, failed: list[Finding], warned: list[Finding], note: str = "") -> str:
    """The page of a result that is plain JSON: from the live one the renderer drops every numpy number.

    Args:
        result: of the validation.
        subject: what was validated, for the title and the first heading.
        failed: the expectations that decided against it.
        warned: those that were not met and do not decide.
        note: plain text that stands with them.
    """
    from great_expectations.core import ExpectationSuiteValidationResult
    from great_expectations.core.expectation_validation_result import ExpectationSuiteValidationResultSchema
    from great_expectations.render.renderer import ValidationResultsPageRenderer

    loaded = ExpectationSuiteValidationResultSchema().load(_harmless(result))
    if not isinstance(loaded, ExpectationSuiteValidationResult):
        loaded = ExpectationSuiteValidationResult(**loaded)
    text = _view().render(
        ValidationResultsPageRenderer().render(loaded),
        template="report_page.j2",
        subject=subject,
        verdict=_verdict(failed, warned),
        passed=not failed,
        failed=failed,
        warned=warned,
        most=MOST,
        note=note,
    )
    text = ELSEWHERE.sub("", OUTSIDE.sub("", text))
    return text.replace("<head>", f"<head>\n{POLICY}", 1)


@cache
def _view() -> Any:
    """Great Expectations' view with our page; it compiles its templates once."""
    from great_expectations.render.view import DefaultJinjaPageView

    folder = str(Path(__file__).parent)
    return DefaultJinjaPageView(custom_styles_directory=folder, custom_views_directory=folder)


def _verdict(failed: list[Finding], warned: list[Finding]) -> str:
    if not failed:
        return f"passed, {len(warned)} warning{'s' * (len(warned) > 1)}" if warned else "passed"
    first = failed[0]
    rows = f" ({first.rows})" if first.rows else ""
    more = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
    return f"FAILED: {first.column}: {first.expectation}{rows}{more}"


def rename(page: Path, old: str, new: str) -> None:
    """Say in a page what became of its subject: the version that was made of a batch, or its id in quarantine."""
    text = page.read_text()
    for tag in ("<title>", "<h1>"):
        text = text.replace(f"{tag}{escape(old)}:", f"{tag}{escape(new)}:", 1)
    write_private(page, text)


def _harmless(value: Any) -> Any:
    """The same with angle brackets that look alike but open no tag."""
    if isinstance(value, dict):
        return {_harmless(key): _harmless(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_harmless(part) for part in value]
    return value.translate(BRACKETS) if isinstance(value, str) else value
