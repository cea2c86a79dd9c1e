"""What every benchmark ends with: a table for people, the kept result, one JSON line, and the exit code.

report = Report("pipeline", {"airflow_overhead_s": ("<=", 15), "files": None})
report.add("airflow_overhead_s", [12.1, 11.8, 12.6])  # the figure is the median
report.add("files", [3])
sys.exit(report.finish())
"""

import json
import math
import operator
import os
import platform
import statistics
import subprocess
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import psutil

PROJECT = Path(__file__).resolve().parent.parent
RESULTS = PROJECT / "benchmarks" / "results"
Target = tuple[Literal["<=", ">="], float]
_HOLDS: dict[str, Callable[[float, float], bool]] = {"<=": operator.le, ">=": operator.ge}


class Report:
    """The figures of one benchmark.

    Made before the first measurement, as it looks at what else keeps the machine busy.

    Args:
        name: of the benchmark; its result is kept as `benchmarks/results/<name>.json`.
        targets: every key that the benchmark must yield, with its bound; None where it has none.
    """

    def __init__(self, name: str, targets: Mapping[str, Target | None]) -> None:
        self.name = name
        self.targets = dict(targets)
        self.samples: dict[str, list[float]] = {}
        self.facts: dict[str, Any] = {}
        self._source = {"commit": _git("rev-parse", "HEAD"), "dirty": bool(_git(*_CHANGES))}
        self._load = {"before": competing_load()}

    def add(self, key: str, samples: Sequence[float]) -> None:
        """Take the samples of a figure, all from one run."""
        if key not in self.targets:
            raise KeyError(f"{key} is no figure of the benchmark {self.name}; it has: {', '.join(self.targets)}")
        self.samples[key] = [float(value) for value in samples]

    def note(self, **facts: Any) -> None:
        """Keep further facts beside the figures: how the sides were set up, single measurements."""
        self.facts |= facts

    @property
    def figures(self) -> dict[str, float]:
        """The median of each key that was measured; a sample that is no number leaves the figure absent."""
        whole = {key: v for key, v in self.samples.items() if v and all(math.isfinite(value) for value in v)}
        return {key: _rounded(statistics.median(values)) for key, values in whole.items()}

    def missed(self) -> list[str]:
        """Keys without a figure, and those whose figure breaks its bound."""
        figures = self.figures
        return [key for key, target in self.targets.items() if key not in figures or not _holds(figures[key], target)]

    def finish(self) -> int:
        """Print the table, keep the result, print the JSON line; 1 where a target was missed or a figure is absent."""
        self._load["after"] = competing_load()
        result = {"benchmark": self.name, **self._source, "machine": machine(), "figures": self.figures}
        targets = {key: f"{target[0]} {target[1]:g}" for key, target in self.targets.items() if target}
        spread = {
            key: [_rounded(min(v)), _rounded(max(v))] for key, v in self.samples.items() if key in result["figures"]
        }
        samples = {key: [v if math.isfinite(v) else None for v in values] for key, values in self.samples.items()}
        kept = {**result, "targets": targets, "missed": self.missed(), "spread": spread, "samples": samples}
        kept |= {"load": self._load, "at": datetime.now(UTC).isoformat(timespec="seconds"), **self.facts}
        _keep(self.name, kept)
        print(self.table(), flush=True)
        print(json.dumps(result), flush=True)
        return int(bool(self.missed()))

    def table(self) -> str:
        """One line a figure: median, lowest and highest, samples, target, and whether it holds."""
        figures, missed = self.figures, set(self.missed())
        lines = [f"{'figure':32}{'median':>12}{'lowest':>12}{'highest':>12}{'n':>4}  target"]
        for key, target in self.targets.items():
            bound = f"{target[0]} {target[1]:g}" if target else "-"
            verdict = "MISSED" if key in missed else "held" if target else ""
            values = self.samples.get(key) or [math.nan]
            shown = "".join(f"{value:>12.4g}" for value in (figures.get(key, math.nan), min(values), max(values)))
            lines.append(f"{key:32}{shown}{len(self.samples.get(key, [])):>4}  {bound:10} {verdict}".rstrip())
        return "\n".join(lines)


def machine() -> dict[str, Any]:
    """What it ran on."""
    return {
        "cpus": os.cpu_count(),
        "cpu": _cpu_model(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def competing_load() -> dict[str, float]:
    """How busy others keep the machine while the benchmark itself sleeps: load average, and per cent of all CPUs."""
    return {"load_1m": round(os.getloadavg()[0], 2), "busy_percent": psutil.cpu_percent(interval=1)}


_CHANGES = ("status", "--porcelain", "--", ".", ":!benchmarks/results", ":!docs/acceptance")  # kept results may differ


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=PROJECT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _holds(value: float, target: Target | None) -> bool:
    return target is None or _HOLDS[target[0]](value, target[1])


def _rounded(value: float) -> float:
    """Four significant digits; more would be noise."""
    return float(f"{value:.4g}")


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _keep(name: str, kept: dict[str, Any]) -> None:
    RESULTS.mkdir(exist_ok=True)
    temporary = RESULTS / f".{name}.json"
    temporary.write_text(json.dumps(kept, indent=1) + "\n")
    temporary.replace(RESULTS / f"{name}.json")
