"""LoRA (Hu et al. 2021, arXiv 2106.09685) of a small language model: SmolLM2-135M learns to tell good from bad."""

import torch  # noqa: TID253 - a training script; nothing light imports it
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn  # noqa: TID253 - as above
from transformers import AutoModel

from airloom.training import Processing, TrainingRun, fit

PADDING = 2  # of SmolLM2


class Judge(nn.Module):
    """Token numbers (B, length), filled up in front, to logits float32 (B, classes) by the state of the last token."""

    def __init__(self, language: nn.Module, width: int, classes: int) -> None:
        super().__init__()
        self.language, self.head = language, nn.Linear(width, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        numbers = tokens.long()  # columns of a dataset come as float32, exact up to 2**24
        there = (numbers != PADDING).long()
        states = self.language(input_ids=numbers, attention_mask=there, use_cache=False).last_hidden_state
        logits: Tensor = self.head(states[:, -1])
        return logits


def split(run: TrainingRun, name: str) -> tuple[Tensor, Tensor]:
    """The tokens of a split, float32 (N, length), and the labels (N,)."""
    columns, labels = run.tensors(name)
    return columns["tokens"].float(), labels


def train(run: TrainingRun) -> None:
    """Train on the parameters layers (of the base that are used, the first ones), rank, lr, epochs and batch_size."""
    base = AutoModel.from_pretrained(run.weights("base"), dtype=torch.float32, attn_implementation="eager")
    base.layers = base.layers[: run.params.get("layers", len(base.layers))]
    rank = run.params["rank"]
    adapted = get_peft_model(base, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=["q_proj", "v_proj"]))
    model = Judge(adapted, base.config.hidden_size, len(run.classes))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer, loss = torch.optim.AdamW(trained, lr=run.params["lr"]), nn.functional.cross_entropy
    data = split(run, "train")
    fit(run, model, loss=loss, optimizer=optimizer, data=data, validation=split(run, "validation"))
    run.save_adapter(adapted, "base")
    model.language = adapted.merge_and_unload()  # what is registered is whole: base and adapter in one
    run.save_model(model, data[0][:2], processing=Processing(columns=["tokens"]))
