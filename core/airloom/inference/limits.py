"""How much a graph is given at once. What a request may cost stands in the server's own limits."""

RUN_VALUES = 2**18  # numbers, and
MOST_PIXELS = 2**23  # that are decoded of one picture; of a JPEG only as many as are needed
RUN_ROWS = 1024  # rows: what lies between the layers of a graph is a multiple of them


def rows_at_once(values: int) -> int:
    """How many rows of so many numbers each a graph is given at once; always one."""
    return min(RUN_ROWS, max(1, RUN_VALUES // max(1, values)))
