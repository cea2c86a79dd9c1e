"""`airloom dataset log` and `show` in a repository with 10,000 versions."""

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from airloom.datasets import versions
from airloom.datasets.storage import repository
from airloom.datasets.storage.manifest import Shard, Span, VersionManifest
from airloom.settings import Settings
from benchmarks._datasets import home

DATASET = "blobs"
COMPACTED = 100  # appends after which the small shards are one again, as `compact` does it
LOOSE = 900  # the newest versions, which git has not packed yet: it does so of itself about that often


@dataclass
class History:
    """Seconds of new processes, one a round."""

    log_s: list[float] = field(default_factory=list)
    show_s: list[float] = field(default_factory=list)

    @property
    def slower(self) -> list[float]:
        """The slower of the two, round by round."""
        return [max(pair) for pair in zip(self.log_s, self.show_s, strict=True)]


def measure(folder: Path, real: VersionManifest, count: int, rounds: int) -> History:
    """Time both commands in a repository whose manifests grow out of a real one."""
    settings, found = home.make(folder), History()
    _build(settings, real, count)
    for _ in range(rounds):
        took, lines = _run(settings, "log", DATASET)
        assert len(lines) == count and lines[0].startswith(f"{DATASET}@v{count} ")
        found.log_s.append(took)
        took, lines = _run(settings, "show", DATASET)
        assert f"{DATASET}@v{count}" in "\n".join(lines)
        found.show_s.append(took)
    return found


def _run(settings: Settings, *arguments: str) -> tuple[float, list[str]]:
    environment = os.environ | {"AIRLOOM_HOME": str(settings.home), "AIRLOOM_PROJECT": str(settings.project)}
    command = [sys.executable, "-m", "airloom", "dataset", *arguments]
    began = time.perf_counter()
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return time.perf_counter() - began, done.stdout.splitlines()


def _build(settings: Settings, real: VersionManifest, count: int) -> None:
    """The objects as `repository.publish` writes them, but one push for all; packed as git would have packed them."""
    repo = repository.ensure(settings)
    parent, specs = repository.head(repo), list[str]()
    for manifest in _manifests(real, count):
        change = repository.Change(
            {f"{DATASET}/{name}": data for name, data in _files(manifest).items()},
            f"{manifest.name}: {manifest.message}\n",
            manifest.author,
            tag=manifest.name,
            note=versions.note(manifest),
        )
        parent, (_, tag) = repository._objects(repo, change, parent)
        specs.append(tag)
        if manifest.number == count - min(LOOSE, count // 2):
            _point(repo, parent, specs)
            repository.git(repo, "gc", "--quiet")
            specs = []
    _point(repo, parent, specs)


def _point(repo: Path, head: str, specs: list[str]) -> None:
    tags = [spec.split(":", 1) for spec in specs]
    lines = [f"update {ref} {target}" for target, ref in tags] + [f"update refs/heads/main {head}"]
    repository.git(repo, "update-ref", "--stdin", given="\n".join(lines) + "\n")


def _manifests(real: VersionManifest, count: int) -> Iterator[VersionManifest]:
    """Appends behind the shards of a real version, compacted now and then."""
    base = [replace(shard, spans=[Span(shard.rows, 1, [])]) for shard in real.shards]
    small, last, parent = list[Shard](), base[-1], ""
    for number in range(1, count + 1):
        small = [] if len(small) == COMPACTED else small
        small.append(replace(last, md5=_name("data", number), index=_name("index", number), spans=_spans(last, number)))
        made = replace(
            real,
            dataset=DATASET,
            number=number,
            id=hashlib.sha256(str(number).encode()).hexdigest(),
            shards=[*base, *small],
            message=f"batch {number} of the night",
            parent=parent,
            changed={"added": last.rows, "deleted": 0},
        )
        parent = made.id
        yield made


def _spans(shard: Shard, number: int) -> list[Span]:
    return [Span(shard.rows, number, ["camera=left"])]


def _name(*words: Any) -> str:
    return hashlib.md5(repr(words).encode(), usedforsecurity=False).hexdigest()


def _files(manifest: VersionManifest) -> dict[str, bytes]:
    """What git holds of a version; the lists that the two .dvc files name are not made, as nobody reads them here."""
    files = {"manifest.json": manifest.to_json().encode(), ".gitignore": b"/shards\n/index\n"}
    for name in ("shards", "index"):
        listing, size = _name(name, manifest.number), sum(shard.bytes for shard in manifest.shards)
        lines = f"outs:\n- md5: {listing}.dir\n  size: {size}\n  nfiles: {len(manifest.shards)}\n"
        files[f"{name}.dvc"] = f"{lines}  hash: md5\n  path: {name}\n".encode()
    return files
