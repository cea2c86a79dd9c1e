"""LoRA (Hu et al. 2021, arXiv 2106.09685) of a small language model: SmolLM2-135M learns how guests talk."""

from typing import Any

import torch  # noqa: TID253 - a training script; nothing light imports it
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn  # noqa: TID253 - as above
from transformers import AutoModelForCausalLM

from airloom.training import InputProcessing, Prepared, TrainingRun, fit


def loss(outputs: Any, batch: dict[str, Tensor]) -> Tensor:
    """Cross entropy of each token by those before it; what was filled up counts for nothing."""
    tokens, there = batch["input_ids"][:, 1:], batch["attention_mask"][:, 1:]
    return nn.functional.cross_entropy(outputs.logits[:, :-1].flatten(0, 1), tokens.where(there == 1, -100).flatten())


def train(run: TrainingRun) -> None:
    """Train on the parameters layers (the first ones of the base), length (tokens), rank, lr, epochs and batch_size."""
    place, size = run.weights("base"), run.params["batch_size"]
    base = AutoModelForCausalLM.from_pretrained(
        place, dtype=torch.float32, attn_implementation="eager", use_cache=False
    )
    base.model.layers = base.model.layers[: run.params.get("layers", len(base.model.layers))]
    rank = run.params["rank"]
    adapted = get_peft_model(base, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=["q_proj", "v_proj"]))
    tokens = InputProcessing.tokens((place / "tokenizer.json").read_text(), run.params["length"], columns=["text"])
    prepare = Prepared({"input_ids": tokens, "attention_mask": InputProcessing(mask="input_ids")})
    data, held_out = (run.loader(split, size, transform=prepare) for split in ("train", "validation"))
    trained = [parameter for parameter in adapted.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=run.params["lr"])
    fit(run, adapted, loss=loss, optimizer=optimizer, data=data, validation=held_out)
    run.save_adapter(adapted, "base")
    whole = adapted.merge_and_unload()  # what is registered is whole: base and adapter in one
    run.save_model(whole, prepare.example(run), processing=prepare.processing, dynamic=prepare.dynamic)
