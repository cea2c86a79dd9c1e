"""A home with real git and DVC, small made-up digits, and a stranger who has only git and DVC."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from airloom.datasets.ingest.images import image_table
from airloom.settings import Settings

PROJECT = Path(__file__).resolve().parents[4]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "a home", project=PROJECT)


@pytest.fixture(scope="session")
def batch() -> Callable[..., pa.Table]:
    def make(seed: int = 0, rows: int = 6) -> pa.Table:
        random = np.random.default_rng(seed)
        images = random.uniform(0.1, 0.6, (rows, 1, 8, 8)).astype(np.float32)
        return image_table(images, random.integers(0, 10, rows))

    return make


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of some thousand bytes, so that a few rows make several."""
    from airloom.datasets.storage import shards

    for name, size in {"SMALLEST": 2_000, "LARGEST": 8_000, "MEAN_TAIL": 2_000}.items():
        monkeypatch.setattr(shards, name, size)


@dataclass
class Stranger:
    """Somebody with git, DVC and pyarrow."""

    folder: Path

    def clone(self, settings: Settings) -> None:
        subprocess.run(["git", "clone", "-q", settings.data_repo, self.folder], check=True, capture_output=True)

    def dvc(self, *arguments: object) -> str:
        command = [sys.executable, "-m", "dvc", *map(str, arguments)]
        return subprocess.run(command, cwd=self.folder, check=True, capture_output=True, text=True).stdout

    def pulled(self, settings: Settings) -> pa.Table:
        """The newest version's rows in the manifest's order, without its tombstones."""
        self.clone(settings)
        self.dvc("pull", "-q")
        digits = self.folder / "digits"
        shards = json.loads((digits / "manifest.json").read_text())["shards"]
        files = [digits / "shards" / f"{shard['md5']}.arrow" for shard in shards]
        assert {path.name for path in (digits / "shards").iterdir()} == {file.name for file in files}
        return pa.concat_tables([pa.ipc.open_file(pa.memory_map(str(file))).read_all() for file in files])


@pytest.fixture
def stranger(tmp_path: Path) -> Stranger:
    return Stranger(tmp_path / "stranger")
