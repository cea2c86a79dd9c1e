"""How many batches a second the loader gives, and how many a device takes: apart, and together."""

import io
import json
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import cycle, islice
from typing import Any

import numpy as np
import torch  # noqa: TID253 - a training
from torch import nn  # noqa: TID253

from airloom.pictures import Picture
from airloom.settings import Settings
from airloom.training.named import Taker
from airloom.training.source import SnapshotSplits
from gpu.place import Place
from gpu.training import Net

BATCH, SHOWN = 64, 10.0  # seconds of each measurement, at most


def measured(place: Place, settings: Settings) -> Iterator[str]:
    """A sentence for JPEG files, which are decoded, and one for stored pixels."""
    rows = 2 * BATCH if place.tiny else 4096
    for name, write in (("jpeg", _files), ("pixels", _pixels)):
        write(place, settings, rows)
        source: Any = _source(settings, name)
        side = 64 if place.tiny else 160
        if name == "jpeg":
            source = source.framed(Picture(height=side, width=side))

        def epochs(source: Any = source) -> Iterator[Any]:
            loader = source.loader("train", BATCH, seed=1)
            while True:
                yield from loader

        batches = epochs()
        first = next(batches)
        step = _stepping(place, first)
        given = _rate(batches, lambda _: None, place)
        taken = _rate(cycle([first]), step, place)
        both = _rate(epochs(), step, place)
        alone = f"loader {given:.1f} batches a second, device {taken:.1f}: {given / taken:.2f}"
        yield f"{name}: {alone}; together {both:.1f}"


def _stepping(place: Place, batch: Any) -> Callable[[Any], None]:
    model = Net(4 if place.tiny else 64).to(place.device)
    optimizer, taker = torch.optim.SGD(model.parameters(), lr=0.01), Taker(model)

    def step(batch: Any) -> None:
        taken = taker.take(batch, place.device)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(*taken.inputs), taken.target).backward()
        optimizer.step()

    step(batch)
    return step


def _rate(batches: Iterable[Any], use: Callable[[Any], None], place: Place) -> float:
    """Batches a second."""
    most = 6 if place.tiny else 400
    place.wait()
    began, count = time.monotonic(), 0
    for batch in islice(batches, most):
        use(batch)
        count += 1
        if time.monotonic() - began > SHOWN:
            break
    place.wait()
    return count / (time.monotonic() - began)


def _source(settings: Settings, dataset: str) -> SnapshotSplits:
    from airloom.datasets import versions
    from airloom.datasets.snapshots import snapshot

    return SnapshotSplits(settings, snapshot.prepare(settings, versions.latest(settings, dataset), {"train": 1.0}))


def _files(place: Place, settings: Settings, rows: int) -> None:
    """JPEG files of about 400 pixels."""
    from PIL import Image

    from airloom.datasets.ingest import Reading, open_source

    draws, longest = np.random.default_rng(0), 80 if place.tiny else 400
    coarse = draws.integers(0, 256, (16, 32, 32, 3), np.uint8)
    whole = []
    for picture in coarse:
        file, size = io.BytesIO(), (longest, int(draws.integers(longest * 2 // 3, longest)))
        Image.fromarray(picture).resize(size).save(file, "JPEG", quality=90)
        whole.append(file.getvalue())
    for number in range(rows):
        path = place.folder / "jpeg" / f"class{number % 4}" / f"{number:05}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(whole[number % len(whole)])
    _commit(settings, "jpeg", open_source(place.folder / "jpeg", reading=Reading(columns={"image": "bytes"})))


def _pixels(place: Place, settings: Settings, rows: int) -> None:
    """Pictures of 32 x 32."""
    from airloom.datasets.ingest.images import image_table

    draws = np.random.default_rng(0)
    _commit(settings, "pixels", image_table(draws.integers(0, 256, (rows, 3, 32, 32), np.uint8), np.arange(rows) % 4))


def _commit(settings: Settings, dataset: str, rows: Any) -> None:
    from airloom.datasets.commit import commit

    rule = {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}, "severity": "critical"}
    suite = settings.project / f"{dataset}.json"
    suite.write_text(json.dumps({"name": dataset, "expectations": [rule], "meta": {}}))
    commit(settings, dataset, rows, message="drawn", suite=suite)
