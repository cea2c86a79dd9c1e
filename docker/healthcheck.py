#!/usr/bin/env python3
"""healthcheck URL [PART]: ends with 0 where the address answers 200, and what it says of the part is `healthy`."""

import json
import sys
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener


def main(url: str, part: str = "") -> str:
    """What is wrong, or an empty text. No proxy is asked: the address is this suite's own."""
    try:
        with build_opener(ProxyHandler({})).open(url, timeout=8) as answer:
            body = answer.read()
    except (URLError, OSError) as error:
        return f"{url}: {error}"
    if not part:
        return ""
    reported = (json.loads(body).get(part) or {}).get("status")
    return "" if reported == "healthy" else f"{part} reports {reported}"


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]) or None)
