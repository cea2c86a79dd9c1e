"""Make the example's data: JPEG files of discs, squares and triangles, no two of one size, a folder for each class."""

import random
import sys
from pathlib import Path

from PIL import Image, ImageDraw

SHAPES = ("disc", "square", "triangle")


def main(folder: Path, count: int = 600) -> None:
    """Write `count` files into a folder for each class."""
    draw = random.Random(7)
    for number in range(count):
        shape = SHAPES[number % len(SHAPES)]
        size = draw.randint(40, 240), draw.randint(40, 240)
        picture = Image.new("RGB", size, tuple(draw.randint(120, 255) for _ in range(3)))
        radius = min(size) * draw.uniform(0.2, 0.45)
        x, y = (side / 2 + draw.uniform(-0.1, 0.1) * side for side in size)
        colour, pen = tuple(draw.randint(0, 110) for _ in range(3)), ImageDraw.Draw(picture)
        if shape == "disc":
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
        else:
            pen.regular_polygon((x, y, radius), 4 if shape == "square" else 3, draw.uniform(0, 90), fill=colour)
        path = folder / shape / f"{number:04}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path, quality=85)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "data/shapes"))
