"""Make the example's data: 1,797 pictures of handwritten digits that scikit-learn ships, in a folder for each digit."""

import sys
from pathlib import Path

from PIL import Image
from sklearn.datasets import load_digits


def main(folder: Path) -> None:
    """Write `pictures/<digit>/<number>.png`, 8 by 8 pixels."""
    digits = load_digits()
    for number, (picture, digit) in enumerate(zip(digits.images, digits.target, strict=True)):
        target = folder / "pictures" / str(digit)
        target.mkdir(parents=True, exist_ok=True)
        Image.fromarray((picture * 255 / 16).astype("uint8")).save(target / f"{number:04}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "data"))
