"""`import airloom`: the shipped notebook, cell by cell, in a project of its own; and what is refused."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import airloom
from airloom.errors import AirloomError, ConfigError, DataError, RegistryError

NOTEBOOK = Path(__file__).resolve().parents[4] / "docs" / "how-to" / "first_look.ipynb"
CHECKS = """
assert rows.rows == 600 and rows.name == "shop@v1"
assert rows.split("test").num_rows + rows.split("train").num_rows + rows.split("validation").num_rows == 600
assert run.metrics["r2"] > 0.5 and run.gate == "passed"
assert list(run.frame().columns) == ["loss"] and len(run.frame()) == 150
assert run.parameters["epochs"] == "150" and other.parameters["epochs"] == "120"
table = airloom.compare(run, other)
assert set(table.loc["epochs"]) == {"150", "120"}
assert len(airloom.runs("shop")) == 2 and "shop@v1" in airloom.runs("shop")._repr_html_()
assert airloom.Run(run.key).id == run.id
assert run.predictions().shape[0] == rows.split("test").num_rows
assert run.key in repr(run)
try:
    run.picture(run.pictures[0][1:])
except airloom.errors.RegistryError as error:
    assert f"did you mean {run.pictures[0]}? it has" in str(error)
answers = model.predict(test)
assert len(answers) == len(test) and model.predict(test[["b", "a"]].to_numpy()[:, ::-1]) == answers
assert abs(model.predict([[0.5, -0.5]])[0] - 0.75) < 0.2 and model.classes == []
assert model.inputs[0].columns == ("a", "b") and "r2" in model.card and model.metrics["r2"] > 0.5
assert model.trace().dataset.version == "shop@v1"
print("all seen")
"""


@pytest.mark.long  # two minutes; `make test` plays a template's own test
@pytest.mark.timeout(600)
def test_the_notebook_runs_in_a_new_project(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRLOOM_")}
    shop = tmp_path / "shop"

    def python(*words: str, folder: Path = shop) -> str:
        done = subprocess.run(
            [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    python("-m", "airloom", "init", "shop", "--template", "blank", folder=tmp_path)
    python("-m", "shop.data")
    create = ["dataset", "create", "shop", "data/rows.csv", "--label", "target", "--type", "tabular", "-m", "rows"]
    python("-m", "airloom", *create)
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    program = "\n".join("".join(cell["source"]) for cell in cells)
    assert python("-c", f"{program}\nimport airloom.errors\n{CHECKS}").endswith("all seen\n")


@pytest.fixture
def home(shared_home, digits, monkeypatch):
    """With a dataset, and found by the environment as in a notebook."""
    monkeypatch.setenv("AIRLOOM_HOME", str(shared_home.home))
    monkeypatch.setenv("AIRLOOM_PROJECT", str(shared_home.project))
    return shared_home


@pytest.mark.timeout(900)  # the first use of the dataset commits it, which takes minutes on a busy machine
def test_a_dataset_says_what_it_has(home) -> None:
    rows = airloom.dataset("digits")
    assert [version.name for version in rows.versions] == ["digits@v1", "digits@v2"]
    newest = rows.version()
    assert (rows.version(2).name, newest.rows) == (newest.name, newest.table().num_rows)
    assert sum(newest.split(part).num_rows for part in ("train", "validation", "test")) == newest.rows
    with pytest.raises(DataError, match=r"no dataset digit\n.*did you mean digits\? known: .*digits"):
        airloom.dataset("digit")
    with pytest.raises(DataError, match="digits@v9"):
        rows.version(9)
    with pytest.raises(DataError, match="golden"):
        rows.version("golden")
    with pytest.raises(ConfigError, match="tests"):
        newest.split("tests")
    with pytest.raises(ConfigError, match=r"the split .* needs train, validation and test, summing to 1"):
        newest.split("test", {"train": 0.9, "test": 0.9})


@pytest.mark.timeout(900)  # as above
def test_a_run_that_failed_says_so(home, world) -> None:
    """Before its training ended: no curves, no predictions, no pictures."""
    from airloom.tracking.ending import end_run

    ctx, name = world.ctx("manual__failed"), world.pipeline.pipeline
    end_run(home, ctx.mlflow_run, "FAILED", "failed")
    (run,) = airloom.runs(name)
    assert "failed, gate not asked; no metrics" in repr(run)
    assert run.pictures == []
    assert run.parameters == {}
    again = rf"; it ended as 'failed'\n.*airloom.run\(…, key='{ctx.key}'\)` goes on with it"
    with pytest.raises(RegistryError, match=f"has not a final training{again}"):
        run.frame()
    with pytest.raises(RegistryError, match=f"has not predictions{again}"):
        run.predictions()
    with pytest.raises(RegistryError, match=r"has not the picture 'confusion'; it ended as 'failed'\n.*it has none"):
        run.picture("confusion")
    with pytest.raises(RegistryError, match=rf"pipeline {name}s has no runs\n.*did you mean {name}\?"):
        airloom.runs(f"{name}s")
    with pytest.raises(RegistryError, match="there is no run"):
        airloom.compare(run, f"{name}/manual__other")
    with pytest.raises(RegistryError, match="names a run, no pipeline"):
        airloom.runs(run.id)


def test_what_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRLOOM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AIRLOOM_PROJECT", str(tmp_path))
    with pytest.raises(DataError, match="nothing"):
        airloom.dataset("nothing")
    with pytest.raises(ConfigError, match="no pipeline 'nothing'"):
        airloom.run("nothing")
    with pytest.raises(AirloomError):
        airloom.runs("nothing")
    with pytest.raises(RegistryError):
        repr(airloom.Run("0" * 32))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        airloom.nothing  # noqa: B018
