"""A small pretrained text encoder (MiniLM-L6), its last layers trained further, with a new head.

Its own tokenizer goes with the model, so texts are given wherever it is asked, in batches as long as their longest.
"""

import torch  # noqa: TID253 - a training script; nothing light imports it
from torch import Tensor, nn  # noqa: TID253 - as above
from transformers import AutoModel

from airloom.training import InputProcessing, Prepared, TrainingRun, fit


class Classifier(nn.Module):
    """Token numbers and their mask, int64 (B, length), to logits float32 (B, classes)."""

    def __init__(self, encoder: nn.Module, width: int, classes: int) -> None:
        super().__init__()
        self.encoder, self.head = encoder, nn.Linear(width, classes)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        weight = attention_mask.unsqueeze(-1).float()
        logits: Tensor = self.head((states * weight).sum(1) / weight.sum(1).clamp_min(1.0))
        return logits


def train(run: TrainingRun) -> None:
    """Train on the parameters layers (that are trained), length (tokens at most), lr, epochs and batch_size."""
    place, size = run.weights("encoder"), run.params["batch_size"]
    encoder = AutoModel.from_pretrained(
        place, dtype=torch.float32, attn_implementation="eager", add_pooling_layer=False
    )
    encoder.requires_grad_(False)
    encoder.encoder.layer[len(encoder.encoder.layer) - run.params["layers"] :].requires_grad_(True)
    model = Classifier(encoder, encoder.config.hidden_size, len(run.classes))
    tokens = InputProcessing.tokens((place / "tokenizer.json").read_text(), run.params["length"], columns=["text"])
    prepare = Prepared({"input_ids": tokens, "attention_mask": InputProcessing(mask="input_ids")})
    data, held_out = (run.loader(split, size, transform=prepare) for split in ("train", "validation"))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=run.params["lr"])
    fit(run, model, loss=nn.functional.cross_entropy, optimizer=optimizer, data=data, validation=held_out)
    run.save_model(model, prepare.example(run), processing=prepare.processing, dynamic=prepare.dynamic)
