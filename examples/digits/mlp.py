"""A small fully connected network for 8x8 digits, to be compared with the convolutional one."""

from itertools import pairwise

import torch  # noqa: TID253 - a training script; nothing light imports it
from torch import Tensor, nn  # noqa: TID253 - as above

from airloom.training import Normalise, TrainingRun, fit


class Layers(nn.Module):
    """Images float32 (B, 1, 8, 8) to logits float32 (B, classes); the normalisation is part of the model."""

    def __init__(self, normalise: Normalise, depth: int, width: int, classes: int) -> None:
        super().__init__()
        sizes = [64, *[width] * depth]
        hidden = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU())]
        self.layers = nn.Sequential(normalise, nn.Flatten(), *hidden, nn.Linear(width, classes))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layers(images)
        return logits


def train(run: TrainingRun) -> None:
    """Train on the parameters depth, width, lr, epochs and batch_size."""
    images, labels = run.tensors("train")
    depth, width = run.params.get("depth", 1), run.params.get("width", 64)
    model = Layers(Normalise.of(images), depth, width, len(run.classes))
    optimizer = torch.optim.Adam(model.parameters(), lr=run.params.get("lr", 3e-3))
    fit(run, model, loss=nn.functional.cross_entropy, optimizer=optimizer, data=(images, labels))
    run.save_model(model)
