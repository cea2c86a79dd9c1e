"""A small network over the numbers of a table; that they are normalised is part of the model."""

import torch
from airloom.training import Normalise, Processing, TrainingRun, fit
from torch import Tensor, nn


class Table(nn.Module):
    """Rows float32 (B, columns) to logits float32 (B, classes)."""

    def __init__(self, normalise: Normalise, columns: int, width: int, classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(normalise, nn.Linear(columns, width), nn.ReLU(), nn.Linear(width, classes))

    def forward(self, rows: Tensor) -> Tensor:
        logits: Tensor = self.layers(rows)
        return logits


def train(run: TrainingRun) -> None:
    """Train with the parameters width, lr, epochs and batch_size of the pipeline file."""
    processing = Processing(columns=list(run.tensors("train")[0]))
    rows, labels = stacked(run, "train")
    model = Table(Normalise.of(rows), rows.shape[1], run.params["width"], len(run.classes))
    optimizer = torch.optim.AdamW(model.parameters(), lr=run.params["lr"])
    loss = nn.functional.cross_entropy
    fit(run, model, loss=loss, optimizer=optimizer, data=(rows, labels), validation=stacked(run, "validation"))
    run.save_model(model, rows[:2], processing=processing)


def stacked(run: TrainingRun, split: str) -> tuple[Tensor, Tensor]:
    """The columns of a split side by side, float32 (N, columns), and the labels (N,)."""
    columns, labels = run.tensors(split)
    return torch.stack([column.float() for column in columns.values()], dim=1), labels
