"""A bag of words with learned vectors; the tokenizer travels with the model."""

import torch
from airloom.training import Processing, Tokenise, TrainingRun, fit
from torch import Tensor, nn


class Words(nn.Module):
    """Token numbers int64 (B, length), 0 where a text has ended, to logits float32 (B, classes)."""

    def __init__(self, vocabulary: int, width: int, classes: int) -> None:
        super().__init__()
        self.vectors = nn.Embedding(vocabulary, width)
        self.decide = nn.Linear(width, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        there = (tokens != 0).unsqueeze(-1).float()
        mean = (self.vectors(tokens) * there).sum(1) / there.sum(1).clamp_min(1.0)
        logits: Tensor = self.decide(mean)
        return logits


def train(run: TrainingRun) -> None:
    """Train with the parameters width, lr, epochs and batch_size of the pipeline file."""
    texts, labels = run.tensors("train")
    validation_texts, validation_labels = run.tensors("validation")
    tokenise = Tokenise.learn(texts, size=run.params["vocabulary"], length=run.params["length"])
    tokens, validation = torch.from_numpy(tokenise(texts)), torch.from_numpy(tokenise(validation_texts))
    model = Words(tokenise.size, run.params["width"], len(run.classes))
    optimizer = torch.optim.AdamW(model.parameters(), lr=run.params["lr"])
    fit(
        run,
        model,
        loss=nn.functional.cross_entropy,
        optimizer=optimizer,
        data=(tokens, labels),
        validation=(validation, validation_labels),
    )
    run.save_model(model, tokens[:2], processing=Processing(tokenise=tokenise))
