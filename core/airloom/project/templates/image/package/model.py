"""A small convolutional network."""

import torch
from airloom.training import TrainingRun, fit
from torch import Tensor, nn


class Network(nn.Module):
    """Pictures float32 (B, C, H, W) in 0..1 to logits float32 (B, classes)."""

    def __init__(self, channels: int, width: int, classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(8 * width, classes),
        )

    def forward(self, pictures: Tensor) -> Tensor:
        logits: Tensor = self.layers(pictures)
        return logits


def train(run: TrainingRun) -> None:
    """Train with the parameters width, lr, epochs and batch_size of the pipeline file."""
    pictures, _ = run.tensors("train")
    model = Network(pictures.shape[1], run.params["width"], len(run.classes))
    optimizer = torch.optim.AdamW(model.parameters(), lr=run.params["lr"])
    fit(run, model, loss=nn.functional.cross_entropy, optimizer=optimizer)
    run.save_model(model)
