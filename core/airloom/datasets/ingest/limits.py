"""How much of a stranger's file is taken into memory at once. An input over a limit is refused by name."""

BATCH_BYTES = 8 << 20  # what a batch aims at: a shard takes up several
BATCH_ROWS = 1 << 16
ROW_BYTES = 256 << 20  # one row of an array, one text file
LINE_BYTES = 8 << 20  # one line of JSON
CSV_BYTES = 2 << 20  # one row of CSV: Arrow reads 32 such blocks ahead, whatever it is asked
DEPTH = 500  # of nesting in JSON: Arrow's parser overflows the stack near 20,000
BOMB_BYTES, BOMB_RATIO = 1 << 30, 100  # a zip member that is larger and was packed harder is no data
NAME_CHARACTERS = 200  # of a column or a class
# Images: Pillow's own limit, `PIL.Image.MAX_IMAGE_PIXELS` (89 million).


def batch_rows(row_bytes: float) -> int:
    """Rows of that size in a batch, at least one."""
    return max(1, min(BATCH_ROWS, int(BATCH_BYTES // max(1, row_bytes))))
