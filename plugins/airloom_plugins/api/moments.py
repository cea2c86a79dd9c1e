"""Times in questions."""

from airloom.monitoring.moments import moment


def seconds(since: str) -> float:
    """Seconds since 1970 of a time, or of how long ago; 0 for none.

    Raises:
        ConfigError: it is neither.
    """
    found = moment(since, "since")
    return max(0.0, found.timestamp()) if found else 0.0
