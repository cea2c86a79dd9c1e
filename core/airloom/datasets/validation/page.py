"""A validation result as Great Expectations' Data Docs page, to be read without a network and without trust."""

import re
from html import escape
from pathlib import Path
from typing import Any

# Dataset values stand in the page unescaped: no script may run, and nothing may be loaded, whatever they contain.
POLICY = (
    '<meta http-equiv="Content-Security-Policy" '
    "content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">"
)
OUTSIDE = re.compile(r"<script\b.*?</script>|<link\b[^>]*>|<img\b[^>]*>|<footer\b.*?</footer>", re.DOTALL)
BODY = re.compile(r"<body\b[^>]*>")
BRACKETS = str.maketrans("<>", "\u2039\u203a")  # HTML escapes would be escaped again in some places of the page


def render(result: dict[str, Any], note: str = "") -> str:
    """The page of a result that is plain JSON: from the live one the renderer drops every numpy number.

    Args:
        result: of the validation.
        note: plain text above the results.
    """
    from great_expectations.core import ExpectationSuiteValidationResult
    from great_expectations.core.expectation_validation_result import ExpectationSuiteValidationResultSchema
    from great_expectations.render.renderer import ValidationResultsPageRenderer
    from great_expectations.render.view import DefaultJinjaPageView

    loaded = ExpectationSuiteValidationResultSchema().load(_harmless(result))
    if not isinstance(loaded, ExpectationSuiteValidationResult):
        loaded = ExpectationSuiteValidationResult(**loaded)
    view = DefaultJinjaPageView(custom_styles_directory=str(Path(__file__).parent))
    page = OUTSIDE.sub("", view.render(ValidationResultsPageRenderer().render(loaded)))
    page = page.replace("<head>", f"<head>\n    {POLICY}", 1)
    return (
        BODY.sub(lambda body: f'{body[0]}\n<p style="margin: 1em">{escape(note)}</p>', page, count=1) if note else page
    )


def _harmless(value: Any) -> Any:
    """The same with angle brackets that look alike but open no tag."""
    if isinstance(value, dict):
        return {_harmless(key): _harmless(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_harmless(part) for part in value]
    return value.translate(BRACKETS) if isinstance(value, str) else value
