"""A home with real git and DVC, and small made-up digits."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from airloom.datasets.types import image_table
from airloom.settings import Settings

PROJECT = Path(__file__).resolve().parents[4]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "a home", project=PROJECT)


@pytest.fixture
def batch() -> Callable[..., pa.Table]:
    def make(seed: int = 0, rows: int = 6) -> pa.Table:
        random = np.random.default_rng(seed)
        images = random.uniform(0.1, 0.6, (rows, 1, 8, 8)).astype(np.float32)
        return image_table(images, random.integers(0, 10, rows))

    return make


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of some thousand bytes, so that a few rows make several."""
    from airloom.datasets import shards

    for name, size in {"SMALLEST": 2_000, "LARGEST": 8_000, "MEAN_TAIL": 2_000}.items():
        monkeypatch.setattr(shards, name, size)
