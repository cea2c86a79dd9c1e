"""What `airloom doctor` says of a project."""

import subprocess
import sys
from pathlib import Path

import pytest

from airloom.project import scaffold
from airloom.settings import Settings
from airloom.spec.pipeline import BUILT
from airloom.stack import project_checks


@pytest.fixture
def shop(tmp_path: Path) -> Settings:
    folder = scaffold.init(tmp_path / "shop", "table").folder
    return Settings(home=folder / ".airloom", project=folder)


def failed(settings: Settings) -> dict[str, str]:
    return {found.check: found.detail for found in project_checks.project(settings) if not found.ok}


def test_a_new_project_is_well(shop: Settings) -> None:
    assert failed(shop) == {}


def test_each_fault_of_a_project_is_named_with_its_fix(shop: Settings, tmp_path: Path) -> None:
    pipelines = shop.project / "configs" / "pipelines"
    (pipelines / "broken.yaml").write_text("pipeline: broken\ntrian: x")
    (shop.project / "configs" / "expectations" / "shop.json").unlink()
    shop.make_home()
    (shop.home / "a.db").touch()
    subprocess.run(["git", "-C", str(shop.project), "add", "--force", str(shop.home / "a.db")], check=True)
    told = failed(shop)
    assert "broken.yaml: trian: unknown key; did you mean 'train'?" in told["pipeline"]
    assert "shop.json: nothing can be committed to shop" in told["expectations"]
    assert "git tracks 1 files of the state folder, .airloom/a.db first" in told["git"]
    assert set(told) == {"pipeline", "expectations", "git"}
    elsewhere = Settings(home=tmp_path / "home", project=tmp_path / "nowhere")
    assert failed(elsewhere)["project"].endswith("lacks dags, configs/pipelines, airloom.toml")


def test_a_pipeline_without_a_dag_and_a_dag_without_a_pipeline_are_named(shop: Settings) -> None:
    class Airflow:
        """Airflow's answer about its DAGs: the one thing that is asked."""

        def dags(self, tag: str) -> list[dict[str, str]]:
            return [{"dag_id": "gone"}] if tag == BUILT else []

    told = [found.detail for found in project_checks.dags(shop, Airflow())]  # type: ignore[arg-type] # as little of it
    assert told == ["Airflow has no DAG of pipeline shop", "DAG gone was built from a pipeline file that is gone"]


def test_a_package_that_this_release_was_not_made_for_is_named(shop: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project_checks.metadata, "requires", lambda _: ["pytest<1", "numpy>=1", "no-such-package>=1"])
    assert failed(shop)["packages"].endswith("is installed, <1 is needed")


def test_the_environment_of_jobs_is_looked_at(shop: Settings, tmp_path: Path) -> None:
    shop.job_python = sys.executable
    assert failed(shop) == {}
    shop.job_python = str(tmp_path / "nowhere" / "python")
    assert "nowhere/python does not start" in failed(shop)["jobs"]
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True)
    shop.job_python = str(tmp_path / "bare" / "bin" / "python")
    assert failed(shop)["jobs"].endswith("bare/bin/python lacks airloom, torch")
