"""`make gpu-check` where there is no GPU: it says so, and its checks themselves run, small, on the CPU."""

import os
import shutil
import subprocess
import sys

import pytest
from gpu import check, checks
from gpu.place import Lacking, Place

pytestmark = pytest.mark.timeout(1800)  # processes that import torch: a machine that is busy takes its time


def test_without_a_gpu_it_says_why_it_is_skipped_and_is_content(tmp_path) -> None:
    kept = check.REPORT.read_bytes() if check.REPORT.exists() else None
    environment = os.environ | {"PATH": str(tmp_path), "PYTHONPATH": str(check.PROJECT / "tests")}
    command = [sys.executable, "-m", "gpu.check"]
    done = subprocess.run(command, cwd=check.PROJECT, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "gpu-check: skipped: there is no GPU: nvidia-smi is not on PATH, or names none\n"
    assert (check.REPORT.read_bytes() if check.REPORT.exists() else None) == kept


def test_a_torch_that_cannot_use_the_gpu_is_named(monkeypatch) -> None:
    monkeypatch.setattr(check.devices, "discover", lambda: ["cuda:0"])
    monkeypatch.setattr(check, "torch_build", lambda: ("2.13.0+cpu", ""))
    assert "torch 2.13.0+cpu was built without CUDA" in check.lacking()


def test_each_precision_learns(tmp_path) -> None:
    seen = checks.precisions(Place("cpu", tmp_path, tiny=True), compiled=False)
    assert all(name in seen for name in ("fp32", "bf16", "fp16"))


@pytest.mark.long
@pytest.mark.skipif(shutil.which("g++") is None, reason="it needs a C++ compiler")
def test_a_compiled_one_learns_as_the_others(tmp_path) -> None:
    assert "compiled" in checks.precisions(Place("cpu", tmp_path, tiny=True))


def test_a_killed_training_of_fp16_ends_with_the_same_bits(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(check.PROJECT / "tests"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    seen = checks.resumes(Place("cpu", tmp_path, tiny=True), "fp16")
    assert seen.startswith("fp16: the same bits, from epoch.batch ")


def test_onnx_runtimes_providers_answer_alike_and_a_missing_one_is_named(tmp_path) -> None:
    assert "64 answers differ by 0" in checks.answers(Place("cpu", tmp_path, tiny=True))
    with pytest.raises(Lacking, match="onnxruntime-gpu"):
        checks.answers(Place("cuda", tmp_path))


@pytest.mark.long
def test_a_lease_sets_the_device_and_two_trials_share_it(tmp_path) -> None:
    assert "leased pretended:0, CUDA_VISIBLE_DEVICES=0; 4 trials in 2 " in checks.shares(
        Place("cpu", tmp_path, tiny=True)
    )


def test_what_the_loader_gives_is_measured_in_a_process_and_reported(tmp_path) -> None:
    rows = check.play(["appetite"], "cpu", tmp_path, tiny=True)
    assert rows[0][2] == "PASS", rows
    assert "jpeg: loader" in rows[0][1]
    assert "pixels: loader" in rows[0][1]
    late = check.play(["answers"], "cpu", tmp_path, tiny=True, limit=0)
    text = check.report(rows + late, "a machine")
    assert "| appetite | Batches a second that the loader gives" in text
    assert text.rstrip().endswith("| the time was used up before it (0 s) | FAIL |")
