"""Batch prediction against a bare loop of ONNX Runtime on ready tensors: rows per CPU-second, medians of five.

Both answer the same rows of a dataset by the same graph, which is trained by nobody: its weights are drawn. The batch
prediction opens dataset and model, compares their digests, reads shards, makes inputs, names classes, gives ids and
writes Parquet; all of that counts, but not the start of the process. The loop has its tensors in memory as float32 and
its session open, and keeps the largest score. Each runs in a process of its own, in turn, on one thread; the answers
are compared first.

The bound is for a ResNet-20. Of `small`, two convolutions, a row takes less time than to read and hash its picture and
to make floats of it, which the loop has behind it: its figures say what a row costs besides the graph.
`--quick` shows on few rows that everything runs.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

from benchmarks._report import Report, Target

ROWS, QUICK, ROUNDS = 20_000, 600, 5
TARGETS: dict[str, Target | None] = {
    "predict_vs_loop": (">=", 0.9),
    "predict_rows_per_cpu_s": None,
    "loop_rows_per_cpu_s": None,
    "small_predict_vs_loop": None,
    "small_besides_us_per_row": None,
}
Spent = dict[str, list[float]]  # CPU-seconds by side


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

        rows = QUICK if quick else ROWS
        models = side("prepare", str(rows))
        spent: dict[str, Spent] = {net: {"predict": [], "loop": []} for net in models}
        for _ in range(1 if quick else ROUNDS):
            for net, sides in spent.items():
                answers = {name: side(name, str(models[net])) for name in sides}
                if answers["predict"]["sha256"] != answers["loop"]["sha256"]:
                    sys.exit(f"{net}: the two sides answer otherwise")
                for name, answer in answers.items():
                    sides[name].append(float(answer["cpu"]))
                    print(f"{net:8}{name:8} {sides[name][-1]:8.2f} s CPU", file=sys.stderr, flush=True)
    report.add("predict_vs_loop", _ratios(spent["resnet"]))
    for name, values in spent["resnet"].items():
        report.add(f"{name}_rows_per_cpu_s", [rows / value for value in values])
    report.add("small_predict_vs_loop", _ratios(spent["small"]))
    pairs = zip(spent["small"]["predict"], spent["small"]["loop"], strict=True)
    report.add("small_besides_us_per_row", [(predict - loop) / rows * 1e6 for predict, loop in pairs])
    if quick:
        print(json.dumps(report.figures))
        return 0
    return report.finish()


def _ratios(spent: Spent) -> list[float]:
    return [loop / predict for predict, loop in zip(spent["predict"], spent["loop"], strict=True)]


if __name__ == "__main__":
    sys.exit(main())
