"""The model server beside stock BentoML, FastAPI and an empty uvicorn: requests a second and CPU of a request.

The same small model (784-128-10) everywhere, by ONNX Runtime; one worker each, 64 connections of wrk. All servers are
started before, and measured in turn, in another order each round; answers are compared first. Ours is `bentoml serve`
as people start it, with metrics, counting, prediction log, ids and the token; JSON at /v1/models/mlp/predict, raw
numbers at /v2/models/mlp/infer. `--quick` shows in short turns that everything runs.
"""

import argparse
import random
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks._report import Report, Target
from benchmarks._serving.servers import Server, started
from benchmarks._serving.wrk import Load, run

ROUNDS, SECONDS, CONNECTIONS = 5, 4, 64
TARGETS: dict[str, Target | None] = {
    "vs_bentoml_raw": (">=", 15),
    "vs_bentoml_json": (">=", 10),
    "vs_bentoml_batching": (">=", 6),
    "vs_fastapi_raw": (">=", 5),
    "vs_fastapi_json": (">=", 3),
    "cpu_vs_uvicorn": ("<=", 3),
    "single_latency_vs_unbatched": ("<=", 1.1),
    "json_us": None,
    "raw_us": None,
}
FASTER = {  # ours, over theirs, in requests a second
    "vs_bentoml_raw": ("ours_raw", "bentoml"),
    "vs_bentoml_json": ("ours_json", "bentoml"),
    "vs_bentoml_batching": ("ours_json", "bentoml_batching"),
    "vs_fastapi_raw": ("ours_raw", "fastapi_raw"),
    "vs_fastapi_json": ("ours_json", "fastapi_json"),
}


def main() -> int:
    """Measure and report; 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short turns, one round: no figure")
    quick = parser.parse_args().quick
    if shutil.which("wrk") is None:
        print("wrk is missing: apt-get install wrk", file=sys.stderr)
        return 2
    report = Report("serving", TARGETS)
    rounds, seconds = (1, 1) if quick else (ROUNDS, SECONDS)
    with tempfile.TemporaryDirectory(prefix="airloom-bench-") as folder, started(Path(folder)) as servers:
        check(servers)
        many: dict[str, list[Load]] = {name: [] for name in servers}
        one: dict[str, list[Load]] = {"ours_json": [], "fastapi_async": []}
        for number in range(rounds):
            turn = list(servers)
            random.Random(number).shuffle(turn)  # noqa: S311 - no secret
            for name in turn:
                many[name].append(run(servers[name], CONNECTIONS, seconds))
            for name in one:  # right after the burst
                one[name].append(run(servers[name], 1, (seconds + 1) // 2))
        memory = {name: round(server.megabytes) for name, server in servers.items()}
    for key, (ours, theirs) in FASTER.items():
        report.add(key, [a.per_second / b.per_second for a, b in zip(many[ours], many[theirs], strict=True)])
    report.add("cpu_vs_uvicorn", [a.cpu / b.cpu for a, b in zip(many["ours_raw"], many["empty"], strict=True)])
    latency = zip(one["ours_json"], one["fastapi_async"], strict=True)
    report.add("single_latency_vs_unbatched", [a.median_ms / b.median_ms for a, b in latency])
    report.add("json_us", [load.cpu * 1e6 for load in many["ours_json"]])
    report.add("raw_us", [load.cpu * 1e6 for load in many["ours_raw"]])
    for name, loads in many.items():
        print(f"{name:20}{_line(loads)}{memory[name]:8} MB", flush=True)
    report.note(
        sides={name: [vars(load) for load in loads] for name, loads in many.items()},
        alone={name: [vars(load) for load in loads] for name, loads in one.items()},
        memory_mb=memory,
    )
    return report.finish()


def check(servers: dict[str, Server]) -> None:
    """All sides give the class that ONNX Runtime gives."""
    wrong = {
        name: server.answered() for name, server in servers.items() if server.answered() not in (None, server.right)
    }
    if wrong:
        raise SystemExit(f"sides that answer otherwise: {wrong}")


def _line(loads: list[Load]) -> str:
    def middle(key: str) -> float:
        return statistics.median(getattr(load, key) for load in loads)

    refused = sum(load.refused for load in loads)
    speed = f"{middle('per_second'):9.0f} requests/s  CPU {middle('cpu') * 1e6:6.0f} µs"
    latency = f"  median {middle('median_ms'):7.2f} ms  p99 {middle('p99_ms'):7.1f} ms"
    return speed + latency + (f"  {refused} refused" if refused else "")


if __name__ == "__main__":
    sys.exit(main())
