"""The checks, by name. Each says what it saw, or raises; `python -m gpu.checks NAME KIND tiny|whole FOLDER` is one."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import yaml

from airloom.settings import Settings
from gpu.place import Lacking, Place

PROJECT = Path(__file__).resolve().parents[2]
SAME = 0.2  # by how much a loss in another precision may differ, of its size: a wrong gradient makes far more of it


def precisions(place: Place, compiled: bool = True) -> str:
    """`fit` learns on the device in fp32, bf16 and fp16, and compiled, to about the same loss."""
    from gpu import training

    asked: dict[str, tuple[str, dict[str, Any]]] = {name: (name, {}) for name in ("fp32", "bf16", "fp16")}
    if compiled:
        asked["compiled"] = ("fp32", {"compile": True})
    losses, said = dict[str, float](), []
    for name, (precision, options) in asked.items():
        began = time.monotonic()
        sink, _ = training.run(place, precision, **options)
        places = {part.device.type for part in sink.model.parameters()}
        assert places == {place.kind}, f"{name}: the weights are on {', '.join(places)}"
        first, last = (sink.reports[step]["train_loss"] for step in (0, max(sink.reports)))
        assert last < first, f"{name}: the loss went from {first:.4f} to {last:.4f}"
        losses[name] = last
        said.append(f"{name} {last:.4f} in {time.monotonic() - began:.1f} s")
    far = [name for name, loss in losses.items() if abs(loss - losses["fp32"]) > SAME * losses["fp32"] + 0.02]
    assert not far, f"{', '.join(far)} learned otherwise than fp32: {losses}"
    return "training loss at the end: " + ", ".join(said)


def resumes(place: Place, *names: str) -> str:
    """Killed amid an epoch and started again, it ends with the bits of one that nobody disturbed."""
    said = []
    for precision in names or ("fp32", "fp16"):
        whole, killed = (place.folder / f"{precision}-{name}" for name in ("whole", "killed"))
        _attempt(place, whole, precision)
        _attempt(place, killed, precision, kill=True)
        _attempt(place, killed, precision)
        began = (killed / "began").read_text().split()
        assert len(began) == 2, f"{precision}: began at {began}"
        assert began[1] != "0.0", f"{precision}: no checkpoint was gone on from"
        apart = _apart(whole / "weights.pt", killed / "weights.pt")
        if not apart:
            said.append(f"{precision}: the same bits, from epoch.batch {began[1]} on")
            continue
        again = place.folder / f"{precision}-again"
        _attempt(place, again, precision)
        own = _apart(whole / "weights.pt", again / "weights.pt")
        assert own, f"{precision}: weights differ by {apart:g}, and two undisturbed trainings have the same bits"
        said.append(f"{precision}: not deterministic here, two undisturbed differ by {own:g}, the killed by {apart:g}")
        assert apart < 10 * own, said[-1]
    return "; ".join(said)


def _attempt(place: Place, folder: Path, precision: str, kill: bool = False) -> None:
    folder.mkdir(exist_ok=True)
    size = "tiny" if place.tiny else "whole"
    command = [sys.executable, "-m", "gpu.training", str(folder), place.kind, size, precision]
    with (folder / "log").open("ab") as log, subprocess.Popen(command, cwd=PROJECT, stdout=log, stderr=log) as process:
        marks, epoch = folder / "batches", 11 if place.tiny else 438  # batches of 16 in seven eighths of the rows
        while kill and process.poll() is None:
            if marks.exists() and marks.stat().st_size > 1.3 * epoch and list((folder / "state").rglob("*.pt")):
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.001)
    wanted = -signal.SIGKILL if kill else 0
    assert process.returncode == wanted, f"it ended with {process.returncode}: {(folder / 'log').read_text()[-2000:]}"


def _apart(one: Path, other: Path) -> float:
    """The largest difference of two models' weights."""
    import torch

    first, second = (torch.load(path, weights_only=True) for path in (one, other))
    return max(float((first[name].double() - second[name].double()).abs().max()) for name in first)


TRIAL = """
import json, os, time
import torch

def train(run):
    began, images = time.time(), run.tensors("train")[0].to(run.device)
    model, done = torch.nn.Linear(images[0].numel(), 10).to(run.device), {"steps": 0}
    for step in run.steps(4, done=done):
        loss = model(images.flatten(1)).square().mean()
        loss.backward()
        time.sleep(0.3)
        done["steps"] += 1
        run.report(step, score=float(loss))
    names = ("CUDA_VISIBLE_DEVICES", "AIRLOOM_JOB_DEVICES")
    row = {"began": began, "ended": time.time(), "pid": os.getpid(), "device": run.device,
           "count": torch.cuda.device_count(), **{name: os.environ.get(name) for name in names}}
    with open(run.params["seen"], "a") as file:
        file.write(json.dumps(row) + "\\n")
"""


def shares(place: Place) -> str:
    """The lease sets the one device that a job sees, and two trials share it."""
    settings, seen = _home(place), place.folder / "seen.jsonl"
    (settings.project / "tuned.py").write_text(TRIAL)
    values = {
        "pipeline": "tuned",
        "dataset": {"name": "digits", "split": {"train": 0.6, "validation": 0.15, "test": 0.25}},
        "train": "tuned.py:train",
        "parameters": {"seen": str(seen)},
        "resources": {"devices": 1},
        "rehearse": False,
        "tune": {"trials": 4, "workers": 1, "share": 0.5, "objective": {"metric": "score"}},
    }
    values["tune"]["space"] = {"x": {"float": [0, 1]}}  # type: ignore[index]
    file = settings.project / "tuned.yaml"
    file.write_text(yaml.safe_dump(values))
    command = [sys.executable, "-m", "airloom", "tune", str(file), "--json"]
    pretended = {} if place.kind == "cuda" else {"AIRLOOM_DEVICES": "1"}
    environment = os.environ | settings.as_environment() | pretended
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-2000:]
    rows = [json.loads(line) for line in seen.read_text().splitlines()]
    leased = {row["AIRLOOM_JOB_DEVICES"] for row in rows}
    assert len(leased) == 1, f"leased were {leased}"
    number = leased.copy().pop().rpartition(":")[2]
    assert {row["CUDA_VISIBLE_DEVICES"] for row in rows} == {number}, rows
    assert {row["device"] for row in rows} == {place.device}, rows
    assert place.kind == "cpu" or {row["count"] for row in rows} == {1}, rows
    together = [a for a, b in combinations(rows, 2) if a["began"] < b["ended"] and b["began"] < a["ended"]]
    assert together, f"no two ran at once: {rows}"
    processes = len({row["pid"] for row in rows})
    return f"leased {leased.pop()}, CUDA_VISIBLE_DEVICES={number}; {len(rows)} trials in {processes} processes at once"


def answers(place: Place) -> str:
    """ONNX Runtime's CUDA provider gives the CPU's answers, as batch prediction loads it."""
    import numpy as np
    import onnxruntime
    from benchmarks import _prediction

    from airloom.files import file_sha256
    from airloom.golden import RTOL
    from airloom.inference.model import LoadedModel
    from airloom.prediction.answer import CUDA, _on_devices

    if place.kind == "cuda" and CUDA not in onnxruntime.get_available_providers():
        installed = f"onnxruntime {onnxruntime.__version__} knows {', '.join(onnxruntime.get_available_providers())}"
        raise Lacking(f"{installed}: `pip install onnxruntime-gpu` in place of onnxruntime for this check")
    folder, rows = place.folder / "net", 64 if place.tiny else 2048
    _prediction.write(_prediction.resnet(), folder / "extra_files")
    digests = {str(file.relative_to(folder)): file_sha256(file) for file in folder.glob("*/*")}
    inputs = np.random.default_rng(3).random((rows, 3, _prediction.SIDE, _prediction.SIDE), np.float32)
    found, speeds = [], []
    for devices in ((), ("cuda:0",) if place.kind == "cuda" else ()):
        model = _on_devices(devices, lambda on: LoadedModel.load("net", "1", folder, digests, providers=on))
        assert not devices or CUDA in model.session.get_providers(), "CUDA's libraries could not be loaded"
        model.outputs({"input": inputs[:64]})
        began = time.monotonic()
        found.append(model.outputs({"input": inputs})["output"])
        speeds.append(rows / (time.monotonic() - began))
    apart = float(np.abs(found[0] - found[1]).max() / np.abs(found[0]).max())
    assert apart <= RTOL, f"answers differ by {apart:.2g} of the largest"
    same = int((found[0].argmax(1) == found[1].argmax(1)).sum())
    assert same == rows, f"{rows - same} of {rows} rows have another class"
    return (
        f"{rows} answers differ by {apart:.2g} of the largest; {speeds[1]:,.0f} rows a second, {speeds[0]:,.0f} before"
    )


def appetite(place: Place) -> str:
    """Batches a second that the loader gives, over those that the device takes of a batch that is there."""
    from gpu.loading import measured

    return "; ".join(measured(place, _home(place)))


def _home(place: Place) -> Settings:
    """A home with the digits."""
    from airloom.datasets.commit import commit
    from airloom.demo.digits import load_digits

    settings = Settings(home=place.folder / "home", project=place.folder / "project", tracking_uri="")
    shutil.copytree(PROJECT / "configs", settings.project / "configs")
    commit(settings, "digits", load_digits().first, message="the first digits")
    return settings


CHECKS: dict[str, Callable[[Place], str]] = {
    "shares": shares,
    "precisions": precisions,
    "resumes": resumes,
    "answers": answers,
    "appetite": appetite,
}


if __name__ == "__main__":
    name, kind, size, folder = sys.argv[1:]
    try:
        print(json.dumps({"verdict": "PASS", "seen": CHECKS[name](Place(kind, Path(folder), size == "tiny"))}))
    except Lacking as lacking:
        print(json.dumps({"verdict": "SKIP", "seen": str(lacking)}))
    except AssertionError as error:
        print(json.dumps({"verdict": "FAIL", "seen": str(error)[:2000]}))
