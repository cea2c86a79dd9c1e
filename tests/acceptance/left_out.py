"""Pipelines without `tune`, `gate`, `deploy`, and digits for them: python tests/acceptance/left_out.py"""

from pathlib import Path

import numpy as np
import yaml
from sklearn.datasets import load_digits

FOLDER = Path("data/left_out")
SPLIT = {"train": 0.6, "validation": 0.15, "test": 0.25}
BASE = {
    "dataset": {"name": "digits", "split": SPLIT},
    "train": "examples/digits/model.py:train",
    "parameters": {"epochs": 1, "batch_size": 64, "permute_labels": False, "width": 16, "lr": 0.01},
}
GATE = {"at_least": {"accuracy": 0.01}, "first_model": "minimums", "against_champion": {"non_inferior_by": 0.1}}

if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    bunch = load_digits()
    images = (bunch.images[:600, None] / 16).astype(np.float32)
    np.savez(FOLDER / "digits.npz", images=images, labels=bunch.target[:600])
    for name, sections in {
        "bare": {},
        "unserved": {"gate": GATE},
        "unjudged": {"deploy": {"steps": ["champion"]}},
    }.items():
        (FOLDER / f"{name}.yaml").write_text(yaml.safe_dump({"pipeline": name, **BASE, **sections}))
