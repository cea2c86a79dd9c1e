"""The one form of every error of the server."""

from typing import Any


def problem_of(answer: Any) -> dict[str, Any]:
    """The members of an error: problem details of RFC 9457, and `error` as clients of the v2 protocol read it."""
    found = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert found["status"] == answer.status_code
    assert found["error"] == found["detail"] != ""
    assert found["title"]
    assert found["type"] == "about:blank" or found["type"].startswith("urn:airloom:")
    return dict(found)
