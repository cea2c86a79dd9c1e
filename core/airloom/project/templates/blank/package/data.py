"""Make data to begin with: 600 rows of two numbers, and a target that depends on them. Replace it with your own."""

import csv
import random
import sys
from pathlib import Path


def main(folder: Path) -> None:
    """Write `rows.csv` with the columns a, b and target."""
    draw = random.Random(7)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "rows.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["a", "b", "target"])
        for _ in range(600):
            a, b = draw.uniform(-1, 1), draw.uniform(-1, 1)
            table.writerow([f"{a:.4f}", f"{b:.4f}", f"{a * b + 2 * a + draw.gauss(0, 0.05):.4f}"])


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "data"))
