"""scikit-learn's 1,797 handwritten digits, cut into the demo's batches."""

from dataclasses import dataclass
from typing import Any

FIRST_PART = 300  # so few that a model of all of them clearly wins


@dataclass(frozen=True)
class Digits:
    """The batches as Arrow tables, and images as the model server takes them, shape (n, 1, 8, 8)."""

    first: Any
    second: Any
    spoiled: Any
    instances: list[list[list[list[float]]]]
    labels: list[int]


def load_digits() -> Digits:
    """Read the images, pixels scaled to 0..1."""
    import numpy as np
    from sklearn import datasets

    from airloom.datasets.ingest.images import image_table

    bunch = datasets.load_digits()
    images = (bunch.images[:, None] / 16).astype(np.float32)
    labels = bunch.target.astype(np.int64)
    wrong = labels[:50] + 40  # no digit has such a label
    return Digits(
        first=image_table(images[:FIRST_PART], labels[:FIRST_PART]),
        second=image_table(images[FIRST_PART:], labels[FIRST_PART:]),
        spoiled=image_table(images[:50] * 0.9, wrong),
        instances=images[:100].tolist(),
        labels=labels[:100].tolist(),
    )
