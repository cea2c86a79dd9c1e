"""What evidence costs: metrics that a training reports, and the gate's decision over many rows.

`logging_overhead`: a training of a minute that reports 1,000 times to a real MLflow server, the last flush included,
against the same training without a report; the figure is the share that it takes longer.
`gate_100k_s`: from the stored predictions of 100,000 rows to the decision, accuracy paired by 10,000 resamples.
`trace_ms`, `impact_ms`: new processes, wall to wall, imports included, their files not in the machine's cache, over
10,000 runs that MLflow's client wrote to its SQLite store and a million predictions that the server's own writer wrote.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch  # noqa: TID253 - the training that is measured

from airloom.evaluation import predictions as kept
from airloom.evaluation.gate.alpha_spending import FIRST
from airloom.evaluation.gate.evidence import judge_rows
from airloom.evaluation.predictions import Answers, PredictedRows
from airloom.settings import Settings
from airloom.spec.gate import AgainstChampion, GateSection
from airloom.tracking import runs
from airloom.training.reporting.sinks import FirstRank
from airloom.training.run import TrainingRun
from airloom.training.source import TensorSource
from benchmarks import _mlflow
from benchmarks._lineage import lineage
from benchmarks._report import Report

REPORTS = 1000
SECONDS = 60.0
PAIRS = 3
ROWS = 100_000
RUNS = 7


def main() -> int:
    """Measure and report; 1 when a target is missed."""
    targets = {"logging_overhead": ("<=", 0.02), "gate_100k_s": ("<=", 2), "trace_ms": ("<=", 1000)}
    report = Report("metadata", targets | {"impact_ms": ("<=", 1000)})
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="airloom-bench-") as folder:
        report.add("gate_100k_s", _gate(Path(folder)))
        with _mlflow.server(Path(folder) / "mlflow") as address:
            with_reports, without = _trainings(Path(folder), address)
    with tempfile.TemporaryDirectory(prefix="airloom-bench-") as folder:
        found = lineage(Path(folder))
        report.add("trace_ms", found.pop("trace_ms"))
        report.add("impact_ms", found.pop("impact_ms"))
        report.note(lineage=found)
    report.add("logging_overhead", [a / b - 1 for a, b in zip(with_reports, without, strict=True)])
    report.note(seconds={"1000 reports": with_reports, "none": without}, threads=1, mlflow="1 worker, SQLite")
    return report.finish()


def _gate(folder: Path) -> list[float]:
    """Seconds from the file to the decision."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 10, ROWS)

    def answers(accuracy: float) -> Answers:
        wrong = generator.random(ROWS) >= accuracy
        return Answers(np.where(wrong, (labels + 1) % 10, labels), generator.exponential(size=ROWS))

    path = folder / "predictions.parquet"
    kept.write(PredictedRows("classification", labels, answers(0.94), answers(0.94)), path)
    rule = AgainstChampion(non_inferior_by=0.01, resamples=10_000)
    policy = GateSection(at_least={"accuracy": 0.9}, against_champion=rule)
    taken = []
    for number in range(RUNS + 1):
        began = time.perf_counter()
        read = kept.read(path, with_champion=True)
        outcome = judge_rows(policy, read.measured(read.candidate), read, FIRST, number)
        taken.append(time.perf_counter() - began)
        assert outcome.passed and outcome.comparison and outcome.comparison.rows == ROWS
    return taken[1:]  # the first one imports


def _trainings(folder: Path, address: str) -> tuple[list[float], list[float]]:
    """Seconds of trainings with and without reports, in turn; all do the same steps."""
    settings = Settings(home=folder / "home", project=folder, tracking_uri=address)
    steps = _calibrated()
    with_reports, without = [], []
    for number in range(PAIRS):
        order = (True, False) if number % 2 == 0 else (False, True)
        for reports in order:
            took = _training(settings, folder, steps, reports=reports, number=number)
            (with_reports if reports else without).append(took)
    return with_reports, without


def _calibrated() -> int:
    """Steps of the minute's training, a multiple of the reports."""
    weights, began, steps = torch.randn(384, 384), time.perf_counter(), 0
    while time.perf_counter() - began < 3:
        weights = _step(weights)
        steps += 1
    return max(1, round(steps * SECONDS / 3 / REPORTS)) * REPORTS


def _step(weights: torch.Tensor) -> torch.Tensor:
    return torch.tanh(weights @ weights / 384**0.5)


def _training(settings: Settings, folder: Path, steps: int, *, reports: bool, number: int) -> float:
    api = runs.client(settings)
    experiment, run_id = runs.ensure_parent(settings, "bench", f"bench/{reports}-{number}", {})
    place = folder / f"{reports}-{number}"
    place.mkdir()
    sink = FirstRank(place, api, run_id)
    run = TrainingRun({}, 0, TensorSource({}), sink)
    weights, every = torch.randn(384, 384, generator=torch.Generator().manual_seed(0)), steps // REPORTS
    began = time.perf_counter()
    for step in range(steps):
        weights = _step(weights)
        if reports and step % every == 0:
            run.report(step // every, loss=float(weights[0, 0]), accuracy=0.5)
    sink.close()
    took = time.perf_counter() - began
    logged = len(api.get_metric_history(run_id, "loss"))
    assert logged == (REPORTS if reports else 0), f"{logged} of {REPORTS} reports arrived in experiment {experiment}"
    return took


if __name__ == "__main__":
    sys.exit(main())
