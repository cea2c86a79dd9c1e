"""Numbers and categories of a table as two inputs of a model, made of raw rows wherever it is asked."""

import torch  # noqa: TID253 - a training script; nothing light imports it
from torch import Tensor, nn  # noqa: TID253 - as above

from airloom.training import InputProcessing, Prepared, TrainingRun, fit

NUMBERS, CATEGORIES = ["age", "spent"], ["city", "plan"]


class Table(nn.Module):
    """Numbers float32 (B, columns) and categories int64 (B, columns) to logits float32 (B, classes)."""

    def __init__(self, numbers: int, sizes: list[int], vector: int, width: int, classes: int) -> None:
        super().__init__()
        self.vectors = nn.ModuleList(nn.Embedding(size, vector) for size in sizes)
        self.layers = nn.Sequential(
            nn.Linear(numbers + vector * len(sizes), width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
        )
        self.head = nn.Linear(width, classes)

    def forward(self, numbers: Tensor, categories: Tensor) -> Tensor:
        vectors = [layer(categories[:, place]) for place, layer in enumerate(self.vectors)]
        logits: Tensor = self.head(self.layers(torch.cat([numbers, *vectors], dim=1)))
        return logits


def train(run: TrainingRun) -> None:
    """Train on the parameters vector, width, lr, epochs and batch_size."""
    rows, _ = run.tensors("train")
    numbers = InputProcessing.learned_numbers({name: rows[name] for name in NUMBERS})
    categories = InputProcessing.learned_categories({name: rows[name] for name in CATEGORIES})
    prepare = Prepared({"numbers": numbers, "categories": categories})
    size = run.params
    model = Table(len(NUMBERS), categories.sizes, size["vector"], size.get("width", 32), len(run.classes))
    optimizer = torch.optim.AdamW(model.parameters(), lr=size.get("lr", 1e-2))
    loss = nn.functional.cross_entropy
    data, held_out = (run.loader(split, size["batch_size"], transform=prepare) for split in ("train", "validation"))
    fit(run, model, loss=loss, optimizer=optimizer, data=data, validation=held_out)
    run.save_model(model, prepare.example(run), processing=prepare.processing)
