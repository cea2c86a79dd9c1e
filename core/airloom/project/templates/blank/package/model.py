"""The training function: ordinary PyTorch, with one argument."""

import torch
from airloom.training import Processing, TrainingRun
from torch import nn


def train(run: TrainingRun) -> None:
    """Train with the parameters width, lr and epochs of the pipeline file."""
    columns, targets = run.tensors("train")
    rows = torch.stack([column.float() for column in columns.values()], dim=1)
    targets = targets.float()[:, None]
    model = nn.Sequential(nn.Linear(rows.shape[1], run.params["width"]), nn.Tanh(), nn.Linear(run.params["width"], 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=run.params["lr"])
    for epoch in run.epochs(run.params["epochs"], model=model, optimizer=optimizer):  # goes on where it was killed
        loss = nn.functional.mse_loss(model(rows), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        run.report(epoch, loss=loss)
    run.save_model(model, rows[:2], processing=Processing(columns=list(columns)))
