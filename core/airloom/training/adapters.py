"""An adapter (LoRA) of `peft` knows the weights that it was trained on, and goes onto no others."""

import json
from pathlib import Path
from typing import Any

from airloom.errors import ConfigError, DataError
from airloom.files import read_json
from airloom.project.weights import digest_at

BASE = "airloom_base.json"  # beside the files of peft, which does not read it


def write_adapter(model: Any, folder: Path, name: str, base: Path) -> None:
    """Write what was trained, as peft does, and the digest of what it was trained on.

    Args:
        model: of `peft.get_peft_model`.
        folder: to write to.
        name: of the weights in the pipeline file.
        base: where they lie.

    Raises:
        ConfigError: it is no model of peft.
    """
    if not hasattr(model, "peft_config"):
        raise ConfigError(
            f"an adapter is kept of a model of peft, not of a {type(model).__name__}", "see peft.get_peft_model"
        )
    model.save_pretrained(str(folder))
    (folder / BASE).write_text(json.dumps({"name": name, "sha256": digest_at(base)}, indent=1) + "\n")


def load_adapter(model: Any, folder: Path | str, base: Path | str) -> Any:
    """An adapter on its base, as `peft.PeftModel`.

    Args:
        model: made of the base.
        folder: of the adapter: the artifact `adapter` of the training's MLflow run.
        base: the file or folder that `model` was made of, as `run.weights` gives it.

    Raises:
        DataError: it was trained on another base.
        ConfigError: it does not say on which.
    """
    folder, base = Path(folder), Path(base)
    recorded = read_json(folder / BASE, "take the adapter from the run again")
    if recorded is None or "sha256" not in recorded:
        hint = "give the folder that run.save_adapter wrote; peft alone loads adapters of unknown origin"
        raise ConfigError(f"{folder} does not say on which weights it was trained: there is no {BASE}", hint)
    if (here := digest_at(base)) != recorded["sha256"]:
        trained = f"weights {recorded['name']} with sha256 {recorded['sha256'][:12]}"
        message = f"the adapter {folder} was trained on {trained}; {base} has {here[:12]}"
        raise DataError(message, "give it the base that it was trained on, or train one on this base")
    from peft import PeftModel

    return PeftModel.from_pretrained(model, str(folder))
