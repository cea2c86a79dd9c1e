"""Numbers and categories of a table: numbers are normalised, each category has a learned vector, all in the model."""

import torch  # noqa: TID253 - a training script; nothing light imports it
from torch import Tensor, nn  # noqa: TID253 - as above

from airloom.training import Normalise, Processing, TrainingRun, fit

NUMBERS, CATEGORIES = ["age", "spent"], ["city", "plan"]


class Table(nn.Module):
    """Rows float32 (B, numbers and codes) to logits float32 (B, classes); a code that training had not is code 0."""

    def __init__(self, normalise: Normalise, codes: list[int], vector: int, width: int, classes: int) -> None:
        super().__init__()
        self.normalise = normalise
        self.vectors = nn.ModuleList(nn.Embedding(count, vector) for count in codes)
        inputs = len(NUMBERS) + vector * len(codes)
        self.layers = nn.Sequential(
            nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, classes)
        )

    def forward(self, rows: Tensor) -> Tensor:
        parts = [self.normalise(rows[:, : len(NUMBERS)])]
        for number, vectors in enumerate(self.vectors, len(NUMBERS)):
            code = rows[:, number].long()
            known = (code > 0) & (code < vectors.num_embeddings)
            parts.append(vectors(torch.where(known, code, torch.zeros_like(code))))
        logits: Tensor = self.layers(torch.cat(parts, dim=1))
        return logits


def stacked(run: TrainingRun, split: str) -> tuple[Tensor, Tensor]:
    """The columns of a split side by side, float32 (N, columns), and the labels (N,)."""
    columns, labels = run.tensors(split)
    return torch.stack([columns[name].float() for name in (*NUMBERS, *CATEGORIES)], dim=1), labels


def train(run: TrainingRun) -> None:
    """Train on the parameters vector, width, lr, epochs and batch_size."""
    rows, labels = stacked(run, "train")
    codes = [int(rows[:, number].max()) + 1 for number in range(len(NUMBERS), rows.shape[1])]
    normalise, size = Normalise.of(rows[:, : len(NUMBERS)]), run.params
    model = Table(normalise, codes, size.get("vector", 4), size.get("width", 32), len(run.classes))
    optimizer = torch.optim.AdamW(model.parameters(), lr=size.get("lr", 1e-2))
    loss = nn.functional.cross_entropy
    fit(run, model, loss=loss, optimizer=optimizer, data=(rows, labels), validation=stacked(run, "validation"))
    run.save_model(model, rows[:2], processing=Processing(columns=[*NUMBERS, *CATEGORIES]))
