"""The `airloom://` asset addresses."""

from urllib.parse import SplitResult


def sanitize_uri(uri: SplitResult) -> SplitResult:
    """`airloom://datasets/<name>` and nothing else.

    Raises:
        ValueError: the address has another form.
    """
    name = uri.path.strip("/")
    if uri.netloc != "datasets" or not name or "/" in name or uri.query or uri.fragment:
        raise ValueError(f"{uri.geturl()!r} is no Airloom asset; the form is airloom://datasets/<name>")
    return uri._replace(path=f"/{name}")
