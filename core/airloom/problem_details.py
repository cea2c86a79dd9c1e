"""Errors as every API of ours says them: problem details (RFC 9457)."""

from http import HTTPStatus
from typing import Any

MEDIA = "application/problem+json"


def problem(status: int, text: str, kind: str = "", **known: Any) -> dict[str, Any]:
    """The body of an error, which clients of the Open Inference Protocol read too.

    Args:
        status: of HTTP.
        text: what is wrong, with which value, and what to do: `detail`, and `error` for those clients.
        kind: what is wrong, in a word that programs compare; "": the status says all that there is.
        known: of the place: `row`, `input`, `value`, `model`, `version`.
    """
    about = {"type": f"urn:airloom:{kind}", "title": kind.replace("-", " ").capitalize()}
    blank = {"type": "about:blank", "title": HTTPStatus(status).phrase}
    return {**(about if kind else blank), "status": status, "detail": text, "error": text, **known}
