"""Batch prediction against a bare loop of ONNX Runtime on ready tensors: rows per CPU-second, medians of five.

Both answer the same rows of a dataset by the same small CNN, which is trained by nobody: its weights are drawn. The
batch prediction reads shards, makes inputs, names classes, gives ids and writes Parquet; the loop has its tensors in
memory and keeps the largest score. Each runs in a process of its own, in turn; the answers are compared first.
`--quick` shows on few rows that everything runs.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

from benchmarks._report import Report

ROWS, QUICK, ROUNDS = 20_000, 600, 5
TARGETS = {"predict_vs_loop": (">=", 0.9), "predict_rows_per_cpu_s": None, "loop_rows_per_cpu_s": None}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rows, one round: no figure")
    quick = parser.parse_args().quick
    report = Report("prediction", TARGETS)
    with tempfile.TemporaryDirectory(prefix="airloom-bench-") as folder:
        environment = os.environ | {"AIRLOOM_HOME": f"{folder}/home", "AIRLOOM_PROJECT": folder}
        environment |= dict.fromkeys(("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"), "")
        environment |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")

        def side(*words: str) -> dict[str, float | str]:
            command = [sys.executable, "-m", "benchmarks._prediction", *words]
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
            return dict(json.loads(done.stdout.splitlines()[-1]))

        model = str(side("prepare", str(QUICK if quick else ROWS))["model"])
        speeds: dict[str, list[float]] = {"predict": [], "loop": []}
        for _ in range(1 if quick else ROUNDS):
            answers = {name: side(name, model) for name in speeds}
            if answers["predict"]["sha256"] != answers["loop"]["sha256"]:
                sys.exit("the two sides answer otherwise")
            for name, answer in answers.items():
                speeds[name].append(float(answer["rows"]) / float(answer["cpu"]))
    pairs = zip(speeds["predict"], speeds["loop"], strict=True)
    report.add("predict_vs_loop", [one / other for one, other in pairs])
    for name, values in speeds.items():
        report.add(f"{name}_rows_per_cpu_s", values)
    if quick:
        print(json.dumps(report.figures))
        return 0
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
