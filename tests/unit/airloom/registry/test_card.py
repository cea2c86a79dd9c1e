"""Model cards over a real registry: evidence or "not measured", and nothing in a name or a message is mark-up."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from typer.testing import CliRunner

from airloom.cli.models import app
from airloom.contracts import Decision, Evaluation
from airloom.evaluation.evaluate import evaluate
from airloom.evaluation.gate.evidence import gate
from airloom.registry import card, card_pages, models, register
from airloom.spec.pipeline import Pipeline
from airloom.tracking import runs
from airloom.tracking.tags import Tag

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>| [a](javascript:alert(3)) `b` **c**"


@pytest.fixture
def registered(world):
    """A version that went through evaluation and gate, with a slice."""
    values = world.pipeline.model_dump(by_alias=True) | {"evaluate": {"slices": {"threes": {"label": 3}}}}
    pipeline, ctx = Pipeline.model_validate(values), world.ctx()
    trained = world.train(ctx)
    evaluation = evaluate(world.settings, pipeline, ctx, trained)
    decision = gate(world.settings, pipeline, ctx, evaluation)
    return register.register(world.settings, ctx, trained, evaluation, decision)


def facts(made: card.Card) -> dict[str, card.Fact]:
    return {f"{section}: {fact.name}": fact for section, found in made.sections.items() for fact in found}


def test_each_value_names_its_evidence_or_the_command_that_measures_it(world, registered):
    made = card.card(world.settings, registered.model, registered.version)
    found = facts(made)
    assert found["Inputs and outputs: inputs and outputs"].value == card.NOT_MEASURED  # of an earlier release
    assert found["Metrics on the test split: accuracy"].value == "1"
    assert found["Metrics on the test split: accuracy"].evidence.endswith("evaluation/metrics.json")
    assert found["Data: dataset"].value.startswith("digits@v2, id ")
    assert found["Data: said of it"].value.startswith("second batch (Ada")
    assert re.match(r"rows \d+", found["Slices: threes"].value) or "rows " in found["Slices: threes"].value
    assert found["Gate: try on this test split"].value.startswith("1 to 1")
    assert found["Gate: gain over the champion"].value == card.NOT_MEASURED
    assert found["Limits: reproducibility"] == card.Fact(
        "reproducibility", card.NOT_MEASURED, f"airloom reproduce {registered.model}/{registered.version}"
    )
    assert found["Lineage: pipeline run"].value == f"{registered.model}/manual__1"
    assert all(fact.evidence for fact in found.values())


def test_the_card_and_the_version_name_the_torch_of_the_training(world):
    ctx, client = world.ctx("with torch"), runs.client(world.settings)
    trained = world.train(ctx)
    client.set_tag(trained.mlflow_run, Tag.TORCH, "2.13.0+cpu")
    evaluation = Evaluation({"accuracy": 1.0}, "", {}, "evaluation/predictions.parquet", 10)
    decision = Decision(True, ["passed"], "gate/evidence.json", None)
    made = register.register(world.settings, ctx, trained, evaluation, decision)
    assert models.get_version(world.settings, made.model, made.version).tags[Tag.TORCH] == "2.13.0+cpu"
    torch = facts(card.card(world.settings, made.model, made.version))["Lineage: torch"]
    assert (torch.value, torch.evidence) == ("2.13.0+cpu", f"run {trained.mlflow_run}")
    before = world.register("before the tag")
    torch = facts(card.card(world.settings, before.model, before.version))["Lineage: torch"]
    assert (torch.value, torch.evidence) == (card.NOT_MEASURED, f"airloom run {before.model}")


def test_the_card_stands_at_the_version_from_its_first_moment(world, registered, tmp_path):
    client = runs.client(world.settings)
    version = models.get_version(world.settings, registered.model, registered.version)
    assert "Model card: `card/card.md`" in version.description
    run, path = version.tags["airloom.train_run"], version.tags[Tag.CARD]
    texts = [Path(client.download_artifacts(run, kept, str(tmp_path))).read_text() for kept in (path, card.HTML)]
    assert "| accuracy | 1 | " in texts[0]
    assert "default-src 'none'" in texts[1]


def test_evidence_that_is_gone_or_another_is_no_evidence(world, registered):
    version = models.get_version(world.settings, registered.model, registered.version)
    runs.client(world.settings).log_text(
        version.tags["airloom.run"], json.dumps({"reasons": ["everything is fine"]}), "gate/evidence.json"
    )
    found = facts(card.card(world.settings, registered.model, registered.version))
    assert found["Gate: evidence"].value == card.NOT_MEASURED
    assert found["Slices: slices"].value == card.NOT_MEASURED
    assert not any("everything is fine" in fact.value for fact in found.values())


def test_a_version_without_an_evaluation_says_so(world):
    made = world.register("bare")
    found = facts(card.card(world.settings, made.model, made.version))
    assert found["Slices: slices"].value == found["Limits: latency_ms"].value == card.NOT_MEASURED
    assert found["Limits: latency_ms"].evidence == f"airloom run {made.model}"


def test_the_card_says_what_the_graph_takes_and_how_far_it_was_from_torch(world):
    ctx, client = world.ctx("with a graph"), runs.client(world.settings)
    trained = world.train(ctx)
    graph = {
        "inputs": ["input_ids: int64 (batch, length)", "a: b: float32 (batch,)"],
        "outputs": ["logits: float32 (batch, 4)"],
        "rtol": 1e-4,
        "differences": {"logits": 2.04e-7},
    }
    client.set_tag(trained.mlflow_run, Tag.GRAPH, json.dumps(graph))
    evaluation = Evaluation({"accuracy": 1.0}, "", {}, "evaluation/predictions.parquet", 10)
    made = register.register(
        world.settings, ctx, trained, evaluation, Decision(True, ["passed"], "gate/evidence.json", None)
    )
    found = facts(card.card(world.settings, made.model, made.version))
    said = {name.partition(": ")[2]: fact.value for name, fact in found.items() if name.startswith("Inputs and")}
    assert said == {
        "input input_ids": "int64 (batch, length)",
        "input a: b": "float32 (batch,)",
        "output logits": "float32 (batch, 4)",
        "tolerance": "0.0001 of the answers' size",
        "difference from torch, of the answers' size": "logits 2.0e-07",
    }


class Tags(HTMLParser):
    """What a browser would see as mark-up."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self.links: list[str] = []

    def handle_starttag(self, tag, attrs) -> None:
        self.seen.add(tag)
        self.links += [value for name, value in attrs if name in ("href", "src")]
        assert not [name for name, _ in attrs if name.startswith("on")]


def test_nothing_in_a_name_or_a_message_is_mark_up():
    fact = card.Fact(HOSTILE, HOSTILE, HOSTILE, 'http://localhost/"><script>x</script>|')
    missing = card.Fact(HOSTILE, card.NOT_MEASURED, HOSTILE)
    made = card.Card(HOSTILE, {HOSTILE: [fact, missing]})
    read = Tags()
    read.feed(card_pages.page(made))
    assert read.seen <= {"html", "head", "meta", "title", "style", "body", "h1", "h2", "table", "tr", "td", "a", "code"}
    assert [link for link in read.links if not link.startswith("http://localhost/")] == []
    text = card_pages.markdown(made)
    assert "<script" not in text
    assert "<img" not in text
    assert "](javascript:" not in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in rows} == {4}


def test_the_command_prints_or_writes_it(world, registered, monkeypatch, tmp_path):
    monkeypatch.setenv("AIRLOOM_HOME", str(world.settings.home))
    name, file = registered.model, tmp_path / "card.html"
    printed = CliRunner().invoke(app, ["card", f"{name}/{registered.version}"])
    assert printed.output.startswith(f"# Model card: {name} version 1")
    CliRunner().invoke(app, ["card", f"{name}/1", "--html", "--output", str(file)], catch_exceptions=False)
    assert f"<h1>Model card: {name} version 1</h1>" in file.read_text()
