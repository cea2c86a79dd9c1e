"""Pipeline runs are found however many others there are; programs read the same JSON of them as ever."""

import json
import sqlite3

import pytest
from typer.testing import CliRunner

from airloom.cli.models import experiment
from airloom.errors import RegistryError
from airloom.settings import Settings
from airloom.tracking import experiments, runs
from airloom.tracking.tags import Tag

NEWER = 1100  # more than MLflow gives at once


def copies(settings: Settings, run: str, count: int) -> None:
    """Copy a run with its tags in MLflow's tables, each copy newer than all before; the client would take minutes."""
    with sqlite3.connect(settings.home / "mlflow" / "mlflow.db") as store:
        store.row_factory = sqlite3.Row
        (original,) = store.execute("SELECT * FROM runs WHERE run_uuid = ?", (run,))
        tags = list(store.execute("SELECT key, value FROM tags WHERE run_uuid = ?", (run,)))
        for number in range(count):
            copy = dict(original) | {"run_uuid": f"{number:032x}"}
            copy["start_time"] += 1 + number
            marks = ", ".join(f":{name}" for name in copy)
            store.execute(f"INSERT INTO runs ({', '.join(copy)}) VALUES ({marks})", copy)  # noqa: S608 - columns
            own = [(key, f"{value}-{number}" if key == Tag.KEY else value, copy["run_uuid"]) for key, value in tags]
            store.executemany("INSERT INTO tags (key, value, run_uuid) VALUES (?, ?, ?)", own)


@pytest.mark.parametrize("kind", ["child", "parent"])
def test_a_run_is_found_behind_more_than_a_page_of_newer_ones(small, kind: str) -> None:
    ctx = small.ctx("oldest")
    client = runs.client(small.settings)
    newest = runs.create_child(client, ctx, "trial") if kind == "child" else small.ctx("newest").mlflow_run
    copies(small.settings, newest, NEWER)
    assert experiments.find(small.settings, client, ctx.key).info.run_id == ctx.mlflow_run
    listed = experiments.show(small.settings, "small").runs
    assert listed[-1].run == ctx.mlflow_run
    assert len(listed) == (1 if kind == "child" else NEWER + 2)
    with pytest.raises(RegistryError, match="there is no run"):
        experiments.show(small.settings, f"{ctx.key}/trial/0")  # a child is no pipeline run


def test_programs_read_the_json_of_before(small, monkeypatch: pytest.MonkeyPatch) -> None:
    ctx = small.ctx("one")
    trained = small.train(ctx)
    monkeypatch.setenv("AIRLOOM_HOME", str(small.settings.home))
    monkeypatch.setenv("AIRLOOM_PROJECT", str(small.settings.project))

    def answer(*arguments: str) -> dict:
        done = CliRunner().invoke(experiment, [*arguments, "--json"])
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    facts = {"key": ctx.key, "run": ctx.mlflow_run, "dataset": "", "gate": "", "outcome": ""}
    facts |= {"metrics": {}, "champion": {}}
    training = {"run": trained.mlflow_run, "candidate": "", "function": "", "parameters": {"width": "8"}, "metrics": {}}
    assert answer("show", "small") == {"pipeline": "small", "runs": [facts]}
    assert answer("show", ctx.key) == facts | {"leaderboard": {}, "trainings": [training]}
    other = small.ctx("two")
    assert answer("compare", ctx.key, other.key) == {"width": {ctx.key: "8", other.key: None}}
