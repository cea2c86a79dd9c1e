"""`import airloom`: the shipped notebook, cell by cell, in a project of its own; and what is refused."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import airloom
from airloom.errors import AirloomError, ConfigError, DataError, RegistryError

NOTEBOOK = Path(__file__).resolve().parents[3] / "docs" / "how-to" / "first_look.ipynb"
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
    run.picture("nonsense")
except airloom.errors.RegistryError as error:
    assert "it has" in str(error)
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
