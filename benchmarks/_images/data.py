"""The rows of the race: JPEG files of many sizes in folders by class, and lists of tokens; ours and the peers' form."""

import io
import json
import tarfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from airloom.datasets.commit import commit
from airloom.datasets.ingest import Reading, from_table, open_source
from airloom.datasets.snapshots import snapshot
from airloom.datasets.storage.schema import Layout
from airloom.settings import Settings


@dataclass(frozen=True)
class Sizes:
    """How much of each, and how often."""

    pictures: int
    side: int  # pixels of the longer one, about
    texts: int
    rounds: int


FULL = Sizes(800, 480, 40_000, 5)  # eight sides with their processes take about 8 minutes on two cores
QUICK = Sizes(24, 64, 300, 1)


def make(folder: Path, sizes: Sizes) -> None:
    """All forms of the same rows, below a folder."""
    _draw(folder / "pictures", sizes)
    settings = home(folder)
    suites = settings.project / "configs" / "expectations"
    suites.mkdir(parents=True)
    rule = {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}}
    for dataset in ("pictures", "tokens"):
        (suites / f"{dataset}.json").write_text(json.dumps({"name": dataset, "expectations": [rule]}))
    reading = Reading(columns={"image": "bytes"})
    version = commit(settings, "pictures", open_source(folder / "pictures", reading=reading), message="made up")
    ids = {"pictures": snapshot.prepare(settings, version, {"train": 1.0}).to_dict()}
    table = pa.table({"tokens": pa.array(tokens(sizes.texts), pa.large_list(pa.int64()))})
    version = commit(settings, "tokens", from_table(table, Layout("generic")), message="made up")
    ids["tokens"] = snapshot.prepare(settings, version, {"train": 1.0}).to_dict()
    (folder / "snapshots.json").write_text(json.dumps(ids))
    (folder / "texts").write_text(str(sizes.texts))
    _for_peers(folder)


def home(folder: Path) -> Settings:
    """The installation of the race."""
    return Settings(home=folder / "home", project=folder / "project")


def tokens(rows: int) -> list[np.ndarray]:
    """Lists of 5 to 120 tokens."""
    random = np.random.default_rng(1)
    return [random.integers(1, 30_000, size) for size in random.integers(5, 121, rows)]


def files(folder: Path) -> list[Path]:
    """The pictures."""
    return sorted((folder / "pictures").rglob("*.jpg"))


def _draw(folder: Path, sizes: Sizes) -> None:
    from PIL import Image

    random = np.random.default_rng(0)
    for number in range(sizes.pictures):
        height, width = random.integers(sizes.side * 2 // 3, sizes.side + 1, 2)
        coarse = random.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
        path = folder / f"class{number % 4}" / f"{number:05}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(coarse).resize((int(width), int(height))).save(path, quality=90)


def _for_peers(folder: Path) -> None:
    import datasets
    import litdata

    rows = [path.read_bytes() for path in files(folder)]
    datasets.Dataset.from_dict({"image": rows}).save_to_disk(folder / "hf")
    (folder / "webdataset").mkdir()
    with tarfile.open(folder / "webdataset" / "0000.tar", "w") as tar:
        for number, row in enumerate(rows):
            entry = tarfile.TarInfo(f"{number:05}.jpg")
            entry.size = len(row)
            tar.addfile(entry, io.BytesIO(row))
    options = {"output_dir": str(folder / "litdata"), "chunk_bytes": "64MB", "num_workers": 1, "start_method": "fork"}
    litdata.optimize(fn=partial(_cell, rows), inputs=list(range(len(rows))), verbose=False, **options)


def _cell(rows: list[bytes], number: int) -> bytes:
    return rows[number]
