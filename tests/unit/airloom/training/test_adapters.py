"""An adapter goes onto the base that it was trained on, and onto no other."""

import json
from pathlib import Path

import pytest

from airloom.errors import ConfigError, DataError
from airloom.project.weights import Pretrained, resolved
from airloom.spec.weights import WeightsSection
from airloom.training import TrainingRun, load_adapter
from airloom.training.adapters import BASE
from airloom.training.reproducibility.reproduce import Memory


class Adapted:
    """What of a model of peft is used where peft is not installed; examples/lora has a real one."""

    def __init__(self) -> None:
        self.peft_config = {"default": None}

    def save_pretrained(self, folder: str) -> None:
        (Path(folder) / "adapter_config.json").write_text("{}")


@pytest.fixture
def run(tmp_path: Path, data, monkeypatch: pytest.MonkeyPatch) -> TrainingRun:
    monkeypatch.setenv("HF_HUB_OFFLINE", "")
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "model.safetensors").write_bytes(b"first")
    found = resolved(tmp_path, [WeightsSection(name="base", path="base")])
    return TrainingRun({}, 0, data, sink=Memory(), weights=Pretrained(tmp_path, found))


def test_it_names_the_digest_of_its_base_and_refuses_another(run: TrainingRun, tmp_path: Path) -> None:
    run.save_adapter(Adapted(), "base")
    base = run.weights("base")
    recorded = json.loads((run.adapter / BASE).read_text())
    assert recorded == {
        "name": "base",
        "sha256": resolved(tmp_path, [WeightsSection(name="b", path="base")])["b"].sha256,
    }
    assert (run.adapter / "adapter_config.json").is_file()
    (base / "model.safetensors").write_bytes(b"other")
    with pytest.raises(DataError, match=rf"was trained on weights base with sha256 {recorded['sha256'][:12]}"):
        load_adapter(object(), run.adapter, base)


def test_one_of_unknown_origin_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not say on which weights"):
        load_adapter(object(), tmp_path, tmp_path)


def test_only_a_model_of_peft_has_one(run: TrainingRun) -> None:
    with pytest.raises(ConfigError, match="not of a object"):
        run.save_adapter(object(), "base")
    with pytest.raises(ConfigError, match="names no weights 'bases'; it names base"):
        run.save_adapter(Adapted(), "bases")
