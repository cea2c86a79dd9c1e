"""The wheel has all that a clone has: whoever installs it needs no clone."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's files, unpacked as pip does it."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=PROJECT, check=True, capture_output=True)
    (wheel,) = folder.glob("airloom-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def python(installed: Path, folder: Path, *words: str) -> str:
    """Run Python with the wheel's packages before those of this environment."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRLOOM_")}
    environment |= {"PYTHONPATH": str(installed), "AIRFLOW_HOME": str(folder / "airflow")}
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_has_the_four_packages_the_lock_and_the_entry_points(installed: Path, tmp_path: Path) -> None:
    for package in ("airloom", "airloom_operators", "airloom_plugins", "airloom_serving"):
        assert (installed / package / "__init__.py").is_file()
    assert (installed / "airloom" / "constraints.txt").read_text() == (PROJECT / "constraints.txt").read_text()
    points = next(installed.glob("*.dist-info")).joinpath("entry_points.txt").read_text()
    for group in ("airflow.plugins", "apache_airflow_provider", "console_scripts"):
        assert f"[{group}]" in points
    place = python(installed, tmp_path, "-c", "import airloom; print(airloom.__file__)")
    assert Path(place.strip()).is_relative_to(installed)


@pytest.mark.matrix("template", ["image", "text", "table", "blank"], sample=["text"])
def test_every_template_is_in_it_and_its_dags_are_found(installed: Path, tmp_path: Path, template: str) -> None:
    python(installed, tmp_path, "-m", "airloom", "init", "shop", "--template", template)
    told = python(installed, tmp_path / "shop", "-m", "airloom", "pipeline", "check", "shop")
    assert "pipeline shop on dataset shop" in told
    program = "from airflow.dag_processing.dagbag import DagBag as B; print(sorted(B('dags/pipelines.py').dags))"
    assert python(installed, tmp_path / "shop", "-c", program).splitlines()[-1] == "['announce-shop', 'shop']"


def test_the_demo_has_its_project_in_it(installed: Path, tmp_path: Path) -> None:
    program = "from pathlib import Path; from airloom.project.scaffold import demo; print(demo(Path()), demo(Path()))"
    assert python(installed, tmp_path, "-c", program).split() == ["airloom_demo", "airloom_demo"]
    told = python(installed, tmp_path / "airloom_demo", "-m", "airloom", "pipeline", "check", "digits")
    assert "pipeline digits on dataset digits" in told
