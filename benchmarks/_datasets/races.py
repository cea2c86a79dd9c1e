"""Who reads against whom: images, texts and blobs."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from airloom.contracts import Snapshot
from airloom.datasets import versions
from airloom.datasets.ingest import from_arrays, from_batches
from airloom.datasets.snapshots import snapshot
from airloom.datasets.storage.manifest import VersionManifest
from airloom.datasets.storage.schema import Layout
from airloom.settings import Settings
from benchmarks._datasets import data, memory, ours, peer_hf, peer_litdata, peer_webdataset
from benchmarks._datasets.data import Sizes
from benchmarks._datasets.home import whole
from benchmarks._datasets.reading import Race, hashes

PEERS = (peer_hf, peer_litdata, peer_webdataset)


def images(settings: Settings, folder: Path, sizes: Sizes) -> Race:
    """Pixels 3x32x32 with a class."""
    pixels, labels = data.images(sizes.images)
    own = whole(settings, "images", from_arrays({"image": pixels, "label": labels}, Layout("image", "label")))
    variants = [*ours.variants(settings, own), *memory.image_variants(pixels, labels)]
    for peer in PEERS:
        place = folder / peer.SIDE
        place.mkdir(parents=True)
        variants += peer.variants(place, pixels, labels)
    race = Race(len(labels), variants)
    race.check(hashes(pixels, labels))
    race.run(sizes.rounds)
    shutil.rmtree(folder)
    return race


def texts(settings: Settings, sizes: Sizes) -> Race:
    """Short texts with a class."""
    values, labels = data.texts(sizes.texts)
    table = pa.table({"text": pa.array(values, pa.large_string()), "label": labels})
    own = whole(settings, "texts", from_batches(table.to_batches(), Layout("text", "label")))
    race = Race(len(labels), [*ours.variants(settings, own), *memory.list_variants(values, labels)])
    return _finish(race, hashes(values, labels), sizes)


def blobs(settings: Settings, made: data.Blobs, sizes: Sizes) -> Race:
    """Byte strings of 20 KB: views for a decoder, and copied bytes."""
    own = whole(settings, "blobs", from_batches(made.batches(), Layout("generic", "label")))
    values = [bytes(blob) for blob in made]
    copied = [replace(v, side="airloom copies") for v in ours.variants(settings, own)[:1]]
    views = ours.variants(settings, own, views=True)
    race = Race(len(made), [*views, *copied, *memory.list_variants(values, made.labels)])
    return _finish(race, hashes(values, made.labels), sizes)


def newest(settings: Settings, dataset: str) -> Snapshot:
    """All rows of the newest version as one split; prepared already."""
    return snapshot.prepare(settings, versions.latest(settings, dataset), {"train": 1.0})


def manifest(settings: Settings, dataset: str) -> VersionManifest:
    """How the newest version is stored."""
    return versions.manifest_of(settings, versions.latest(settings, dataset))


def _finish(race: Race, expected: Any, sizes: Sizes) -> Race:
    race.check(expected)
    race.run(sizes.rounds)
    return race
