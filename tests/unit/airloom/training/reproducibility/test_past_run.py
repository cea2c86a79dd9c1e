"""Which training a name means: of several candidates the one that was named, never just any."""

import json
from collections.abc import Callable

import pytest

from airloom.contracts import RunContext
from airloom.errors import ConfigError, RegistryError
from airloom.tracking import runs
from airloom.tracking.tags import Tag
from airloom.training.reproducibility.past_run import past_run


@pytest.fixture
def trained(small) -> Callable[..., str]:
    """Write the run of a training as `airloom.training.train` does, without a model."""

    def make(ctx: RunContext, candidate: str, status: str = "FINISHED", number: int = 0) -> str:
        client = runs.client(small.settings)
        own = ctx.with_(key=f"{ctx.key}/{candidate}") if candidate else ctx
        tags = {Tag.CODE_FUNCTION: f"model.py:{candidate or 'train'}", Tag.PARAMETERS: "{}"}
        tags |= {Tag.SNAPSHOT_RECORD: json.dumps(ctx.snapshot.to_dict())}
        run = runs.create_child(client, own, "train", number, tags)
        client.set_tag(ctx.mlflow_run, Tag.CODE_FUNCTION, tags[Tag.CODE_FUNCTION])
        client.set_terminated(run, status)
        return run

    return make


def test_a_run_of_several_candidates_asks_which(small, trained) -> None:
    ctx = small.ctx()
    names = {name: trained(ctx, name) for name in ("mlp", "cnn")}
    with pytest.raises(RegistryError) as error:
        past_run(small.settings, ctx.mlflow_run)
    assert error.value.message == f"run {ctx.mlflow_run} trained several candidates: cnn, mlp"
    assert error.value.hint == "say which: --candidate cnn or --candidate mlp"
    for name, run in names.items():
        past = past_run(small.settings, ctx.mlflow_run, name)
        assert (past.run, past.function) == (run, f"model.py:{name}")
    with pytest.raises(RegistryError, match=r"has no candidate 'rnn'"):
        past_run(small.settings, ctx.mlflow_run, "rnn")
    with pytest.raises(RegistryError, match="is one training"):
        past_run(small.settings, names["cnn"], "cnn")


def test_a_run_of_one_model_needs_no_candidate(small, trained) -> None:
    ctx = small.ctx()
    run = trained(ctx, "")
    assert past_run(small.settings, ctx.mlflow_run).run == run
    with pytest.raises(RegistryError, match="has no candidate 'cnn'") as error:
        past_run(small.settings, ctx.mlflow_run, "cnn")
    assert "leave --candidate out" in error.value.hint


def test_a_training_that_an_earlier_run_made_is_a_candidates_too(small, trained) -> None:
    earlier, ctx = small.ctx("earlier"), small.ctx("later")
    taken, own = trained(earlier, "cnn"), trained(ctx, "mlp")
    runs.client(small.settings).set_tag(ctx.mlflow_run, f"{Tag.REUSED}.train.cnn", taken)
    assert past_run(small.settings, ctx.mlflow_run, "cnn").run == taken
    assert past_run(small.settings, ctx.mlflow_run, "mlp").run == own
    with pytest.raises(RegistryError, match="several candidates: cnn, mlp"):
        past_run(small.settings, ctx.mlflow_run)


def test_of_a_candidate_that_trained_more_than_once_the_newest_that_finished_counts(small, trained) -> None:
    ctx = small.ctx()
    trained(ctx, "", number=0)
    second = trained(ctx, "", number=1)
    trained(ctx, "", "FAILED", number=2)
    assert past_run(small.settings, ctx.mlflow_run).run == second


def test_check_determinism_asks_which_candidate_too(small, monkeypatch: pytest.MonkeyPatch) -> None:
    from airloom.cli import reproduce

    for name, value in small.settings.as_environment().items():
        monkeypatch.setenv(name, value)
    file = small.settings.project / "pair.yaml"
    file.write_text("""
pipeline: pair
dataset: {name: digits}
tune: {trials: 2, objective: {metric: m}}
candidates:
  cnn: {train: "a.py:cnn", space: {width: {int: [1, 4]}}}
  mlp: {train: "a.py:mlp", space: {depth: {int: [1, 2]}}}
gate: {at_least: {accuracy: 0.5}, against_champion: {non_inferior_by: 0.1}}
""")
    with pytest.raises(ConfigError) as error:
        reproduce.check_determinism(str(file))
    assert error.value.message == "pair has several candidates: cnn, mlp"
    assert error.value.hint == "say which: --candidate cnn or --candidate mlp"
    assert reproduce._one_candidate(file, "mlp").train == "a.py:mlp"
    with pytest.raises(ConfigError, match="no candidate 'rnn'"):
        reproduce.check_determinism(str(file), candidate="rnn")
