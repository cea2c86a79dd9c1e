"""A small convolutional network for 8x8 digits, in plain torch."""

import torch  # noqa: TID253 - a training script; nothing light imports it
from torch import Tensor, nn  # noqa: TID253 - as above

from airloom.training import TrainingRun, fit


class Digits(nn.Module):
    """Images float32 (B, 1, 8, 8) to logits float32 (B, classes)."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(2 * width * 4, classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layers(images)
        return logits


def train(run: TrainingRun) -> None:
    """Train on the parameters width, lr, epochs, batch_size and permute_labels."""
    model = Digits(run.params.get("width", 32), len(run.classes))
    optimizer = torch.optim.Adam(model.parameters(), lr=run.params.get("lr", 3e-3))
    images, labels = run.tensors("train")
    if run.params.get("permute_labels"):
        # A sanity experiment: with shuffled labels nothing can be learned, so a good score would be a leak.
        labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(run.seed))]
    fit(run, model, loss=nn.functional.cross_entropy, optimizer=optimizer, data=(images, labels))
    run.save_model(model)
