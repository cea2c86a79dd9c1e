"""`make gpu-check`: at most 8 minutes on one GPU; keeps docs/acceptance/gpu-check.md. Elsewhere it says why not.

`python -m gpu.check NAME…` runs only the checks of these names, and keeps no report. Each is a process of its own.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from airloom.jobs import devices
from airloom.stack.device_checks import torch_build
from gpu.checks import CHECKS, PROJECT

REPORT = PROJECT / "docs" / "acceptance" / "gpu-check.md"
LIMIT = 480.0  # seconds, of all
Row = tuple[str, str, str, float]  # name, what was seen, verdict, seconds


def lacking() -> str:
    """Why nothing can be checked here; empty where it can."""
    if not devices.discover():
        return "there is no GPU: nvidia-smi is not on PATH, or names none"
    built = torch_build()
    if built is None or not built[1]:
        version = f"torch {built[0]} was built without CUDA" if built else "torch is not installed"
        return f"there is a GPU, but {version}: `airloom doctor` says what to install"
    return ""


def main(names: Sequence[str]) -> int:
    """Run the checks; 1 where one fails."""
    if reason := lacking():
        print(f"gpu-check: skipped: {reason}")
        return 0
    with tempfile.TemporaryDirectory(prefix="airloom-gpu-") as folder:
        rows = play(names or list(CHECKS), "cuda", Path(folder))
    if not names:
        REPORT.parent.mkdir(exist_ok=True)
        REPORT.write_text(report(rows, facts()))
    return int(any(verdict == "FAIL" for _, _, verdict, _ in rows))


def play(names: Sequence[str], kind: str, folder: Path, tiny: bool = False, limit: float = LIMIT) -> list[Row]:
    """The checks one after another, each in a process and a folder of its own, until the time is used up."""
    rows: list[Row] = []
    end = time.monotonic() + limit
    for name in names:
        (folder / name).mkdir()
        began = time.monotonic()
        seen, verdict = _one(name, kind, folder / name, tiny, end - began)
        rows.append((name, seen, verdict, time.monotonic() - began))
        print(f"{verdict} {name}: {seen} ({rows[-1][3]:.0f} s)", flush=True)
    return rows


def _one(name: str, kind: str, folder: Path, tiny: bool, left: float) -> tuple[str, str]:
    command = [sys.executable, "-m", "gpu.checks", name, kind, "tiny" if tiny else "whole", str(folder)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(PROJECT / "tests"), str(PROJECT)])}
    environment |= {"MLFLOW_TRACKING_URI": "", "MLFLOW_REGISTRY_URI": ""}
    if left <= 0:
        return "the time was used up before it", "FAIL"
    try:
        done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=left)
        ended = json.loads(done.stdout.splitlines()[-1])
        return str(ended["seen"]), str(ended["verdict"])
    except subprocess.TimeoutExpired:
        return f"it was not over when the {LIMIT:.0f} seconds of all checks were", "FAIL"
    except (json.JSONDecodeError, IndexError, KeyError, TypeError):
        return " ".join((done.stdout + done.stderr)[-800:].split()), "FAIL"


def facts() -> str:
    """The machine, in a line."""
    import torch

    device = torch.cuda.get_device_properties(0)
    return (
        f"{device.name}, {device.total_memory / 2**30:.0f} GiB, torch {torch.__version__}, "
        f"{os.cpu_count()} CPUs, Python {platform.python_version()}"
    )


def report(rows: Sequence[Row], machine: str) -> str:
    """The kept table."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=PROJECT, capture_output=True, text=True, check=True)
    dirty = subprocess.run(
        ["git", "status", "--porcelain", "--untracked-files=no", "--", ".", f":!{REPORT.relative_to(PROJECT)}"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    changed = " (with changes that are not committed)" if dirty.stdout.strip() else ""
    lines = ["# On a GPU", "", f"`make gpu-check` at commit {commit.stdout.strip()}{changed}, {machine}.", ""]
    lines += ["| check | promise | seen | verdict |", "|---|---|---|---|"]
    for name, seen, verdict, seconds in rows:
        promise = (CHECKS[name].__doc__ or "").strip().splitlines()[0]
        cells = (name, promise, f"{seen} ({seconds:.0f} s)", verdict)
        lines.append("| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
