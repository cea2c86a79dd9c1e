"""What `benchmarks/images.py` measures, against which targets."""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks._datasets.measure import Clock, Cost, by_cpu, by_wall, median, ratios
from benchmarks._images import data
from benchmarks._images.data import FULL, QUICK
from benchmarks._images.sides import PICTURES, TOKENS
from benchmarks._report import PROJECT, Report, Target

TARGETS: dict[str, Target | None] = {
    "jpeg_vs_decode_floor": (">=", 0.9),
    "jpeg_vs_imagefolder": (">=", 1.3),
    "jpeg_vs_imagefolder_wall": (">=", 1.1),
    "jpeg_vs_litdata": (">=", 1.0),
    "jpeg_vs_hf": (">=", 1.0),
    "jpeg_vs_webdataset": (">=", 1.0),
    "padded_vs_list": (">=", 1.5),
}
Costs = dict[str, list[Cost]]


def main() -> int:
    """Measure and report; 1 when a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.images")
    parser.add_argument("--quick", action="store_true", help="small data, one round; its figures mean nothing")
    sizes = QUICK if parser.parse_args().quick else FULL
    report = Report("images-quick" if sizes is QUICK else "images", TARGETS)
    scratch = PROJECT / ".cache"
    scratch.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=scratch) as name:
        folder = Path(name)
        data.make(folder, sizes)
        pictures = _race(folder, list(PICTURES), sizes.rounds)
        _report(report, pictures)
        tokens = _race(folder, list(TOKENS), sizes.rounds)
        report.add("padded_vs_list", ratios(tokens["list"], tokens["padded"]))
    return report.finish()


def _report(report: Report, costs: Costs) -> None:
    def best(peer: str, by: Clock = by_cpu) -> list[Cost]:
        sides = [side for side in costs if side.partition(",")[0] == peer]
        return min((costs[side] for side in sides), key=lambda spent: by(median(spent)))

    own = costs["airloom"]
    report.add("jpeg_vs_decode_floor", ratios(costs["floor"], own))
    report.add("jpeg_vs_imagefolder_wall", ratios(best("imagefolder", by_wall), own, by_wall))
    for peer in ("imagefolder", "litdata", "hf", "webdataset"):
        report.add(f"jpeg_vs_{peer}", ratios(best(peer), own))
    report.note(cpu_s={side: median(spent).cpu for side, spent in costs.items()})
    report.note(wall_s={side: median(spent).wall for side, spent in costs.items()})


def _race(folder: Path, sides: Sequence[str], rounds: int) -> Costs:
    """Each side's costs, round by round; its first process only compares."""
    digests = {side: _process(folder, side, "digest") for side in sides}
    wrong = [side for side, found in digests.items() if found != digests[sides[0]]]
    assert not wrong, f"{', '.join(wrong)}: other rows than {sides[0]}"
    costs: Costs = {side: [] for side in sides}
    for _ in range(rounds):
        for side in sides:
            spent = _process(folder, side, "time")
            costs[side].append(Cost(spent["cpu"], spent["wall"]))
            print(f"{side:28} {spent['cpu']:8.2f} s CPU {spent['wall']:8.2f} s", file=sys.stderr, flush=True)
    return costs


def _process(folder: Path, side: str, what: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks._images.sides", str(folder), side, what]
    done = subprocess.run(command, cwd=PROJECT, stdout=subprocess.PIPE, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found
