"""`import datasets` in a benchmark is Hugging Face's package, although a benchmark has the same name."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[3]
NAMES = sorted(file.stem for file in (PROJECT / "benchmarks").glob("[a-z]*.py"))
# Goes on in the environment of the peers as `make bench NAME=datasets` does, then loads every benchmark.
PROBE = f"""
import importlib, sys
from pathlib import Path

from benchmarks import _peers

_peers.ensure()
import datasets

for name in {NAMES}:
    importlib.import_module(f"benchmarks.{{name}}")
importlib.import_module("benchmarks._datasets.main")

print(Path(sys.prefix).name, sys.argv[1:], datasets.__file__)
"""

CHUNKS = """
import numpy as np
from pathlib import Path

from benchmarks._datasets import peer_litdata

peer_litdata.variants(Path.cwd(), np.zeros((2, 3, 32, 32), np.uint8), np.zeros(2))
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The benchmarks with one more, which measures nothing and installs no peer."""
    ignored = shutil.ignore_patterns("__pycache__", "results")
    shutil.copytree(PROJECT / "benchmarks", tmp_path / "benchmarks", ignore=ignored)
    (tmp_path / "benchmarks" / "probe.py").write_text(PROBE)
    (tmp_path / "benchmarks" / "requirements.txt").write_text("# none\n")
    (tmp_path / "packages" / "datasets").mkdir(parents=True)
    (tmp_path / "packages" / "datasets" / "__init__.py").touch()
    return tmp_path


def test_each_benchmark_finds_the_package_and_not_the_benchmark(copy: Path, monkeypatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(copy / "packages"))
    make = ["make", "--no-print-directory", "--file", str(PROJECT / "Makefile"), "--old-file", ".venv/.developing"]
    done = subprocess.run(
        [*make, f"RUN={sys.executable}", "bench", "NAME=probe"], cwd=copy, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert {"datasets", "jobs", "metadata", "pipeline", "training", "tuning"} <= set(NAMES)
    assert done.stdout.splitlines()[-1] == f"peers [] {copy / 'packages' / 'datasets' / '__init__.py'}"


def test_a_process_that_a_benchmark_starts_finds_it_too(copy: Path, monkeypatch) -> None:
    """litdata, which imports it, writes its chunks in processes of their own."""
    (copy / "packages" / "litdata").mkdir()
    program = "def optimize(**options):\n    import datasets\n\n    print(datasets.__file__)\n"
    (copy / "packages" / "litdata" / "__init__.py").write_text(program)
    monkeypatch.setenv("PYTHONPATH", str(copy / "packages"))
    done = subprocess.run([sys.executable, "-c", CHUNKS], cwd=copy, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [str(copy / "packages" / "datasets" / "__init__.py")] * 2  # of two forms
