"""Make the example's data: noisy pictures with a disc and a square each, and the mask of what is where."""

import sys
from pathlib import Path

import numpy as np

SIZE = 32


def main(file: Path, count: int = 1200) -> None:
    """Write a .npz with image float32 (count, 1, 32, 32) in 0..1 and mask uint8 (count, 32, 32)."""
    draw = np.random.default_rng(7)
    y, x = np.mgrid[:SIZE, :SIZE]
    masks = np.zeros((count, SIZE, SIZE), np.uint8)
    for mask in masks:
        at, radius = draw.uniform(6, SIZE - 6, 2), draw.uniform(4, 7)
        mask[(x - at[0]) ** 2 + (y - at[1]) ** 2 < radius**2] = 1
        left, top, side = *draw.integers(1, SIZE - 10, 2), draw.integers(5, 10)
        mask[top : top + side, left : left + side] = 2  # it may hide a part of the disc
    bright = np.array([0.3, 0.55, 0.6], np.float32)[masks]  # too close to tell a disc from a square by itself
    images = np.clip(bright + draw.normal(0, 0.08, masks.shape), 0, 1).astype(np.float32)[:, None]
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(file, image=images, mask=masks)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "data/scenes.npz"))
