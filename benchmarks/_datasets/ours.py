"""Airloom's loader, with its default settings."""

from collections.abc import Iterable
from typing import Any

from airloom.contracts import Snapshot
from airloom.datasets.snapshots.snapshot import open_anew
from airloom.settings import Settings
from benchmarks._datasets.reading import Variant

BATCH = 256


def variants(settings: Settings, snapshot: Snapshot, **options: Any) -> list[Variant]:
    """Later epochs of one loader, and first epochs, in which the shards are mapped and their digests checked."""
    loader = open_anew(settings, snapshot).loader("train", BATCH, **options)
    shown = "".join(f", {name}={value}" for name, value in options.items())

    def first() -> Iterable[Any]:
        return open_anew(settings, snapshot).loader("train", BATCH, **options)

    return [
        Variant(f"airloom{shown}", "airloom", "full", lambda: loader),
        Variant(f"airloom{shown}, first epoch: digests checked", "airloom first", "full", first),
    ]
