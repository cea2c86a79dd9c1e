"""A small pretrained text encoder (MiniLM-L6), its last layers trained further, with a new head.

The words of the data become its vocabulary: each begins with the mean of the vectors of its pieces. So the model takes
texts wherever it is asked, and is as large as its data need.
"""

from typing import Any

import torch  # noqa: TID253 - a training script; nothing light imports it
from torch import Tensor, nn  # noqa: TID253 - as above
from transformers import AutoModel, AutoTokenizer

from airloom.training import Processing, Tokenise, TrainingRun, fit


class Classifier(nn.Module):
    """Token numbers int64 (B, length), 0 where a text has ended, to logits float32 (B, classes)."""

    def __init__(self, encoder: nn.Module, width: int, classes: int) -> None:
        super().__init__()
        self.encoder, self.head = encoder, nn.Linear(width, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        there = (tokens != 0).long()
        states = self.encoder(input_ids=tokens, attention_mask=there).last_hidden_state
        weight = there.unsqueeze(-1).float()
        logits: Tensor = self.head((states * weight).sum(1) / weight.sum(1).clamp_min(1.0))
        return logits


def of_words(encoder: nn.Module, tokenizer: Any, tokenise: Tokenise) -> None:
    """Give the encoder the data's words in place of its pieces."""
    pieces = encoder.get_input_embeddings().weight.detach()
    rows = [pieces[tokenizer.pad_token_id], pieces[tokenizer.unk_token_id]]
    rows += [pieces[tokenizer.encode(word, add_special_tokens=False)].mean(0) for word in tokenise.vocabulary]
    encoder.set_input_embeddings(nn.Embedding.from_pretrained(torch.stack(rows), freeze=True))


def train(run: TrainingRun) -> None:
    """Train on the parameters layers (that are trained), vocabulary, length, lr, epochs and batch_size."""
    place = run.weights("encoder")
    encoder = AutoModel.from_pretrained(
        place, dtype=torch.float32, attn_implementation="eager", add_pooling_layer=False
    )
    (texts, labels), (held_out, held_out_labels) = run.tensors("train"), run.tensors("validation")
    tokenise = Tokenise.learn(texts, size=run.params["vocabulary"], length=run.params["length"])
    of_words(encoder, AutoTokenizer.from_pretrained(place), tokenise)
    encoder.requires_grad_(False)
    encoder.encoder.layer[len(encoder.encoder.layer) - run.params["layers"] :].requires_grad_(True)
    model = Classifier(encoder, encoder.config.hidden_size, len(run.classes))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=run.params["lr"])
    tokens, validation = torch.from_numpy(tokenise(texts)), torch.from_numpy(tokenise(held_out))
    loss = nn.functional.cross_entropy
    fit(run, model, loss=loss, optimizer=optimizer, data=(tokens, labels), validation=(validation, held_out_labels))
    run.save_model(model, tokens[:2], processing=Processing(tokenise=tokenise))
