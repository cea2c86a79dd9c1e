"""Training functions as users write them, for trainings that are killed."""

import hashlib
import random
import time
from pathlib import Path

import numpy as np
import torch  # noqa: TID253 - user code
from torch import nn  # noqa: TID253
from torch.optim.lr_scheduler import OneCycleLR  # noqa: TID253
from torch.utils.data import DataLoader  # noqa: TID253

from airloom.training import fit


def make(run):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.3), nn.Linear(64, 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    return model, optimizer, OneCycleLR(optimizer, 3e-3, total_steps=1000)


def note(run, name, text):
    with Path(run.params["folder"], name).open("a") as file:
        file.write(text)


def augment(run, images):
    if run.rank == 0:
        note(run, "batches", "x")
        if not hasattr(run, "began"):
            run.began = True
            note(run, "began", f"{run.progress.at.batch} ")
    time.sleep(run.params["pause"])
    images = images.roll(random.randint(-1, 1), 2)
    return images * float(np.random.uniform(0.9, 1.1)) + 0.1 * torch.randn_like(images)


def finish(run, model):
    """The weights' digest; then an error, as an export of the model would take longer than all the rest."""
    weights = b"".join(part.numpy().tobytes() for part in model.state_dict().values())
    if run.rank == 0:
        Path(run.params["folder"], "digest").write_text(hashlib.sha256(weights).hexdigest())
        torch.save(model.state_dict(), Path(run.params["folder"], "weights.pt"))
    raise RuntimeError("enough")


def with_fit(run):
    model, optimizer, schedule = make(run)
    fit(
        run,
        model,
        loss=nn.functional.cross_entropy,
        optimizer=optimizer,
        epochs=run.params["epochs"],
        batch_size=16,
        accumulate=4,
        clip_norm=1.0,
        schedule=schedule,
        schedule_every="step",
        transform=lambda images: augment(run, images),
    )
    finish(run, model)


def by_name(run):
    """Batches as dicts, two losses, layers that are computed twice, and averaged weights."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.3), nn.Linear(64, 10))

    def losses(outputs, batch):
        return {"right": nn.functional.cross_entropy(outputs, batch["label"]), "small": 1e-3 * outputs.square().mean()}

    fit(
        run,
        model,
        loss=losses,
        optimizer=torch.optim.AdamW(model.parameters(), lr=3e-3),
        epochs=run.params["epochs"],
        batch_size=16,
        transform=lambda batch: batch | {"input": augment(run, batch["input"])},
        named=True,
        ema=0.9,
        gradient_checkpointing=True,
    )
    finish(run, model)


def own_loop(run):
    model, optimizer, schedule = make(run)
    loader = DataLoader(run.data("train"), 16, shuffle=True)
    for epoch in run.epochs(4, model=model, optimizer=optimizer, schedule=schedule):
        for number, (images, labels) in enumerate(run.batches(loader)):
            loss = nn.functional.cross_entropy(model(augment(run, images)), labels)
            (loss / 4).backward()
            if number % 4 == 3:
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
        run.report(epoch, train_loss=loss)
    finish(run, model)


def without_chance(run):
    """The rows that each rank trains on are noted; nothing but their order is random."""
    inputs, _labels = run.tensors("train")
    numbers = {row.numpy().tobytes(): number for number, row in enumerate(inputs)}

    def watch(images):
        rows = " ".join(str(numbers[image.numpy().tobytes()]) for image in images)
        note(run, f"rows-{run.rank}", f"{run.progress.at.index}: {rows}\n")
        if run.rank == 0:
            note(run, "batches", "x")
        time.sleep(run.params["pause"])
        return images

    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    fit(
        run,
        model,
        loss=nn.functional.cross_entropy,
        optimizer=optimizer,
        epochs=4,
        batch_size=15,  # 603 rows: the last batch of an epoch has 3, odd ones for two ranks
        accumulate=4,
        clip_norm=1.0,
        transform=watch,
    )
    finish(run, model)
