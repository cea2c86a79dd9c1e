"""A deterministic training of some forty steps, each of which takes a moment and is reported."""

import time

import torch  # noqa: TID253 - user code
from torch import nn  # noqa: TID253

from airloom.training import TrainingRun


def train(run: TrainingRun) -> None:
    """Dropout and AdamW, so that a resumed training needs every generator and the optimizer's state."""
    # About a megabyte of weights: saving takes some milliseconds, in which it can be killed.
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 1500), nn.ReLU(), nn.Dropout(0.2), nn.Linear(1500, 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model, count = run.prepare(model), {"step": 0}
    loader = run.loader("train", run.params["batch_size"])
    for _ in run.epochs(run.params["epochs"], model=model, optimizer=optimizer, count=count):
        for images, labels in loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
            run.report(count["step"], loss=loss)
            count["step"] += 1
            time.sleep(run.params["pause"])
    run.save_model(model)
