"""What a job's start costs: from submit to the first line of user code, beside a bare Python process.

Pairs, interleaved: a `command:` job next to `python -c`, and a job of a function next to `python -c "import torch"` (a
function of ours that trains has torch to import, and so does a bare script). `job_start_overhead_s` is the larger of
the two differences; `job_start_overhead_200_s` is the same over the last 20 of 200 submits in a row.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from airloom.jobs.spec import JobSpec, Resources
from airloom.jobs.submit import submit
from airloom.jobs.wait import wait
from airloom.settings import Settings
from benchmarks._report import Report

PAIRS = 15
STAMP = "import time; print(time.time(), flush=True)"
TRAIN = f"import torch; {STAMP}"
FUNCTION = "import torch\nimport time\n\n\ndef first_line():\n    print(time.time(), flush=True)\n    return {}\n"


def main() -> int:
    """Measure and report; 1 when a target is missed."""
    report = Report("jobs", {"job_start_overhead_s": ("<=", 0.5), "job_start_overhead_200_s": ("<=", 0.5)})
    with tempfile.TemporaryDirectory(prefix="airloom-bench-") as folder:
        project = Path(folder) / "project"
        project.mkdir()
        (project / "bench_step.py").write_text(FUNCTION)
        settings = Settings(home=Path(folder) / "home", project=project)
        command, function, long = _pairs(settings), _pairs(settings, function=True), _many(settings)
    sides = {"command": command, "function": function}
    for name, (ours, bare) in sides.items():
        print(f"{name:10} job {statistics.median(ours):.3f} s, bare {statistics.median(bare):.3f} s")
    differences = {n: [a - b for a, b in zip(*side, strict=True)] for n, side in sides.items()}
    worst = max(differences.values(), key=statistics.median)
    report.add("job_start_overhead_s", worst)
    report.add("job_start_overhead_200_s", [value - statistics.median(command[1]) for value in long])
    report.note(seconds={name: {"job": ours, "bare": bare} for name, (ours, bare) in sides.items()})
    return report.finish()


def _pairs(settings: Settings, *, function: bool = False) -> tuple[list[float], list[float]]:
    """Seconds of a job and of a bare process, in turn."""
    ours, bare = [], []
    for number in range(PAIRS + 1):
        job, process = _job(settings, f"{function}/{number}", function), _bare(TRAIN if function else STAMP)
        if number:  # the first pair warms the page cache
            ours.append(job)
            bare.append(process)
    return ours, bare


def _job(settings: Settings, key: str, function: bool) -> float:
    resources = Resources(time=60)
    if function:
        path = {"PYTHONPATH": str(settings.project)}
        spec = JobSpec(step="bench_step:first_line", resources=resources, variables=path)
    else:
        spec = JobSpec(command=[sys.executable, "-c", STAMP], resources=resources)
    began = time.time()
    ended = wait(settings, submit(settings, key, spec))
    assert ended.state == "SUCCEEDED", ended.reason
    return float((ended.path / "log.txt").read_text().split()[-1]) - began


def _bare(code: str) -> float:
    began = time.time()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout) - began


def _many(settings: Settings) -> list[float]:
    """200 submits in a row; the seconds of the last 20."""
    return [_job(settings, f"many/{number}", function=False) for number in range(200)][-20:]


if __name__ == "__main__":
    sys.exit(main())
