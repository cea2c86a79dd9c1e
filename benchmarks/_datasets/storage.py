"""Storing and fetching, Airloom's way and DVC's, round by round."""

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks._datasets import storing
from benchmarks._datasets.data import Blobs, Sizes, blobs
from benchmarks._datasets.measure import Clock, Cost, by_cpu, median, ratios
from benchmarks._datasets.peer_dvc import Files, OneFile
from benchmarks._datasets.storing import Stored


@dataclass
class Storage:
    """What every round found."""

    rounds: list[Stored] = field(default_factory=list)
    fetches: list[Cost] = field(default_factory=list)
    files: Sequence[Files] = ()
    arrow: OneFile | None = None

    def figures(self, by: Clock = by_cpu) -> dict[str, list[float]]:
        """The ratios by one of the clocks, round by round."""
        full = [found.full.rest for found in self.rounds]
        append = [found.append.rest for found in self.rounds]
        pushed = [found.append.rest + found.append.push for found in self.rounds]
        return {
            "full_commit_vs_write_and_hash": ratios(full, [found.baseline for found in self.rounds], by),
            "append_vs_full_commit": ratios(append, full, by),
            "append_vs_dvc_files": ratios(pushed, self._fastest("append", by), by),
            "fetch_vs_dvc_files": ratios(self.fetches, self._fastest("fetch", by), by),
        }

    def _fastest(self, step: str, by: Clock) -> list[Cost]:
        ways = [costs for peer in self.files for name, costs in peer.costs.items() if name.startswith(step)]
        return min(ways, key=lambda costs: by(median(costs)))

    def rows(self) -> dict[str, list[Cost]]:
        """All that was measured, by name."""
        rows = {"write 1 file and hash it once": [found.baseline for found in self.rounds]}
        for step in ("full", "append"):
            parts = [getattr(found, step) for found in self.rounds]
            rows[f"airloom, {step}: commit, digests and git included"] = [part.rest for part in parts]
            rows[f"airloom, {step}: push to the DVC remote"] = [part.push for part in parts]
            rows[f"airloom, {step}: validation"] = [part.validation for part in parts]
        rows["airloom, fetch: fresh home, new process"] = self.fetches
        for peer in (*self.files, *([self.arrow] if self.arrow else [])):
            rows |= {f"{peer.name}: {step}": costs for step, costs in peer.costs.items()}
        return rows

    def table(self) -> str:
        """A line a step."""
        lines = [f"{'storing: ' + str(len(self.rounds)) + ' rounds':72}{'CPU s':>10}{'wall s':>10}"]
        costs = {name: median(found) for name, found in self.rows().items()}
        lines += [f"{name:72}{cost.cpu:>10.3f}{cost.wall:>10.3f}" for name, cost in costs.items()]
        return "\n".join(lines)

    def record(self) -> dict[str, Any]:
        """For the kept result."""
        return {
            name: {"cpu_s": [round(c.cpu, 4) for c in costs], "wall_s": [round(c.wall, 4) for c in costs]}
            for name, costs in self.rows().items()
        }


def measure(folder: Path, made: Blobs, sizes: Sizes) -> Storage:
    """Each round: ours in a home of its own, fetched into another; then DVC's, from the same state each time."""
    expected = sorted(hashlib.md5(blob).digest() for blob in made)  # noqa: S324
    found = Storage()
    found.files = [Files(folder / links, made, links) for links in ("copy", "hardlink")]
    found.arrow = OneFile(folder / "arrow", made)
    for number in range(sizes.rounds):
        more = blobs(len(made) // 100, seed=100 + number)
        settings, stored = storing.store(folder / "ours", made, more)
        fresh, fetched = storing.fetch(folder / "fresh", settings)
        assert number or storing.digests(fresh) == expected
        found.rounds.append(stored)
        found.fetches.append(fetched)
        for path in (folder / "ours", folder / "fresh"):
            shutil.rmtree(path)
        for peer in (*found.files, found.arrow):
            peer.round(more, None if number else expected)
    shutil.rmtree(folder)
    return found
