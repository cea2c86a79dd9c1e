"""Times and spans as people give them: `2026-11-30T14:00`, `2h` ago."""

import re
from datetime import UTC, datetime, timedelta

from airloom.errors import ConfigError

_SPAN = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def seconds_in(span: str) -> float | None:
    """The seconds of `90s`, `10m`, `2h` or `1d`; None where it is no such span."""
    found = _SPAN.fullmatch(span)
    return float(found[1]) * _SECONDS[found[2]] if found else None


def moment(text: str | datetime, name: str, now: datetime | None = None) -> datetime | None:
    """A time that a person names; None for none. One without a zone is UTC.

    Args:
        text: ISO 8601, or how long ago.
        name: of what it is, for a message.
        now: from which `ago` counts; this moment when left out.

    Raises:
        ConfigError: it is no time.
    """
    if not text:
        return None
    try:
        if isinstance(text, str) and (ago := seconds_in(text)) is not None:
            return (now or datetime.now(UTC)) - timedelta(seconds=ago)
        found = datetime.fromisoformat(text) if isinstance(text, str) else text
    except (ValueError, OverflowError):
        hint = "a time as 2026-11-30T14:00 (UTC where no zone stands there), or how long ago: 90s, 10m, 2h, 1d"
        raise ConfigError(f"{name} {str(text)[:60]!r} is no time", hint) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
