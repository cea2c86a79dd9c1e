"""A training that uses all of `fit` that a device may do otherwise; as a module, one attempt of it in a process.

`python -m gpu.training FOLDER KIND tiny|whole PRECISION` goes on from FOLDER/state, adds a letter to FOLDER/batches for
each batch, the number of the batch at which it began to FOLDER/began, and writes FOLDER/weights.pt at its end.
"""

import sys
import time
from pathlib import Path
from typing import Any

import torch  # noqa: TID253 - a training
from torch import nn  # noqa: TID253

from airloom.training import TensorSource, TrainingRun, fit
from airloom.training.checkpointing import checkpoints
from airloom.training.execute import execute
from gpu.place import Place

CLASSES, SIDE = 10, 32


class Net(nn.Module):
    """Convolutions, running means, and dropout, which draws from the device's generator."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(4)),
            *(nn.Conv2d(width, 2 * width, 3, padding=1), nn.BatchNorm2d(2 * width), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Dropout(0.2), nn.Linear(32 * width, CLASSES)),
        )

    def forward(self, images: Any) -> Any:
        return self.layers(images)


class Sink:
    """Keeps what a training reports, and its model."""

    def __init__(self) -> None:
        self.reports: dict[int, dict[str, float]] = {}
        self.model: Any = None

    def report(self, step: int, metrics: dict[str, float]) -> None:
        self.reports[step] = metrics

    def sync(self) -> None:
        """Nothing is to be written."""

    def picture(self, step: int, name: str, png: Any) -> None:
        """None is drawn."""

    def save(self, model: Any, example: Any) -> None:
        self.model = model


def data(rows: int) -> TensorSource:
    """Pictures with a bright row each, whose place is the class."""
    draws = torch.Generator().manual_seed(0)
    images = torch.rand(rows, 3, SIDE, SIDE, generator=draws)
    labels = torch.arange(rows) % CLASSES
    images[torch.arange(rows), :, 3 * labels] += 1.0
    held = max(rows // 8, 1)
    return TensorSource({"train": (images[held:], labels[held:]), "validation": (images[:held], labels[:held])})


def run(place: Place, precision: str, state: Path | None = None, **options: Any) -> tuple[Sink, TrainingRun]:
    """One training: what it reported, its model on the device, and the run."""
    width, rows, epochs = (4, 200, 2) if place.tiny else (64, 8000, 4)
    sink = Sink()
    made = TrainingRun({}, 1, data(rows), sink, place.device, state=state)  # type: ignore[arg-type]
    augment = options.pop("augment", lambda _, images: images + 0.1 * torch.randn_like(images))

    def train(run: TrainingRun) -> None:
        model = Net(width)
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
        chosen: dict[str, Any] = {"clip_norm": 1.0, "accumulate": 2, "ema": 0.9, **options}
        chosen["schedule"] = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=4000)
        chosen |= {"schedule_every": "step", "transform": lambda images: augment(run, images)}
        loss = nn.functional.cross_entropy
        fit(run, model, loss=loss, optimizer=optimizer, epochs=epochs, batch_size=16, precision=precision, **chosen)  # type: ignore[arg-type]
        sink.model = model
        run.save_model(model)

    execute(train, made, "train")
    return sink, made


def attempt(folder: Path, place: Place, precision: str) -> None:
    """One attempt, with checkpoints as often as they can be written."""
    checkpoints.FIRST = 0.001

    def augment(run: TrainingRun, images: Any) -> Any:
        if not hasattr(run, "began"):
            run.began = True  # type: ignore[attr-defined]
            with (folder / "began").open("a") as file:
                file.write(f"{run.progress.at.index}.{run.progress.at.batch} ")
        with (folder / "batches").open("a") as file:
            file.write("x")
        time.sleep(0.02 if place.tiny else 0.0)  # so that it can be killed at a place
        return images + 0.1 * torch.randn_like(images)

    sink, _ = run(place, precision, folder / "state", augment=augment)
    draft = folder / "weights.draft"
    torch.save({name: weight.cpu() for name, weight in sink.model.state_dict().items()}, draft)
    draft.rename(folder / "weights.pt")


if __name__ == "__main__":
    path = Path(sys.argv[1])
    attempt(path, Place(sys.argv[2], path, sys.argv[3] == "tiny"), sys.argv[4])
