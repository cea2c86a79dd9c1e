"""Which training a name means: of several candidates the one that was named, never just any."""

import json
import subprocess
import tarfile
from collections.abc import Callable

import pytest

from airloom.contracts import RunContext
from airloom.errors import ConfigError, RegistryError
from airloom.tracking import runs
from airloom.tracking.tags import Tag
from airloom.training.reproducibility import past_run as past_runs
from airloom.training.reproducibility.past_run import past_project, past_run
from airloom.training.reproducibility.provenance import MODULES, code_tags, note_read


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


def test_a_model_is_named_as_at_every_other_door(small, trained) -> None:
    run, client = trained(small.ctx(), ""), runs.client(small.settings)
    name = small.settings.registered("small")
    client.create_registered_model(name)
    version = client.create_model_version(name, "somewhere", run_id=run).version
    client.set_registered_model_alias(name, "champion", version)
    for target in ("small", "small@champion", f"small/{version}", f"models:/small/{version}"):
        assert past_run(small.settings, target).run == run
    for wrong, told in (
        ("nothing", "no run or model 'nothing'"),
        ("small/9", "no run or model"),
        ("a b", "'a b' is no run"),
    ):
        with pytest.raises(RegistryError, match=told) as refused:
            past_run(small.settings, wrong)
        assert "digits@champion" in refused.value.hint


def test_the_golden_inputs_keep_their_type_and_a_model_says_whether_it_keeps_names(
    small, trained, tmp_path, monkeypatch
) -> None:
    run = trained(small.ctx(), "")
    files = tmp_path / "extra_files"
    files.mkdir()
    (files / "golden.json").write_text('{"inputs": [[1]], "outputs": [[2.0]], "dtype": "torch.int64"}')
    monkeypatch.setattr(past_runs, "_model", lambda *_: tmp_path)
    past = past_run(small.settings, run)
    assert (past.answers, past.named) == ([[[2.0]]], False)
    assert (past.inputs["input"].tolist(), past.inputs["input"].dtype) == ([[1]], "int64")
    (files / "processing.json").write_text('{"classes": ["a", "b"]}')
    assert past_run(small.settings, run).named


def test_code_that_is_in_no_commit_comes_from_the_runs_own_copies(small, trained, monkeypatch) -> None:
    """The function's file was committed, what it imports was not; both have changed since."""
    extractall = tarfile.TarFile.extractall
    # As Python before 3.11.4 has it, which Debian's is: without filters.
    monkeypatch.setattr(tarfile.TarFile, "extractall", lambda archive, path: extractall(archive, path))
    project, client = small.settings.project, runs.client(small.settings)
    (project / "model.py").write_text("from helper import VALUE\n")
    (project / "helper.py").write_text("VALUE = 1\n")
    git(project, "init", "-q")
    git(project, "add", "model.py")
    git(project, "commit", "-qm", "x")
    run = trained(small.ctx(), "")
    tags = code_tags(project, "model.py:train", project / "model.py", ["model.py", "helper.py"])
    assert (tags[Tag.CODE_DIRTY], tags[Tag.CODE_UNTRACKED]) == ("true", "helper.py")
    for name, value in tags.items():
        client.set_tag(run, name, value)
    client.log_artifact(run, str(project / "helper.py"), MODULES)
    for name in ("model.py", "helper.py"):
        (project / name).write_text("raise SystemExit\n")
    past = past_run(small.settings, run)
    assert (past.changed, past.untracked) == (False, "helper.py")
    with past_project(small.settings, past) as (root, notes):
        assert (root / "model.py").read_text() == "from helper import VALUE\n"
        assert (root / "helper.py").read_text() == "VALUE = 1\n"
    assert notes == [
        f"model.py has changed since; the code of commit {past.commit[:12]} with the run's own copies of helper.py was "
        "trained"
    ]


def git(project, *words) -> None:
    who = ["-c", "user.name=A", "-c", "user.email=a@b"]
    subprocess.run(["git", *who, *words], cwd=project, check=True)


def test_what_a_training_read_and_no_commit_has_is_named_on_its_runs(small, trained) -> None:
    project, client, ctx = small.settings.project, runs.client(small.settings), small.ctx()
    run = trained(ctx, "")
    note_read(client, project, [run], ["data.csv"])  # without git nobody can say
    assert Tag.CODE_UNTRACKED not in client.get_run(run).data.tags
    (project / "model.py").write_text("")
    git(project, "init", "-q")
    git(project, "add", "model.py")
    git(project, "commit", "-qm", "x")
    assert code_tags(project, "model.py:train", project / "model.py")[Tag.CODE_DIRTY] == "false"
    note_read(client, project, [run, ctx.mlflow_run], ["model.py"])
    assert Tag.CODE_DIRTY not in client.get_run(run).data.tags
    note_read(client, project, [run, ctx.mlflow_run], ["model.py", "data.csv", "ä b.txt"])
    note_read(client, project, [run], ["helper.py"])
    tags = client.get_run(run).data.tags
    assert (tags[Tag.CODE_DIRTY], tags[Tag.CODE_UNTRACKED]) == ("true", "data.csv, helper.py, ä b.txt")
    assert client.get_run(ctx.mlflow_run).data.tags[Tag.CODE_UNTRACKED] == "data.csv, ä b.txt"
    note_read(client, project, [run], [f"{number:0100}" for number in range(100)])
    assert len(client.get_run(run).data.tags[Tag.CODE_UNTRACKED]) < 8000


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
