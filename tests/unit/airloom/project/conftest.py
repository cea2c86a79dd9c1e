from pathlib import Path

import pytest

from airloom.settings import Settings

MODEL = """
def train(run): ...

def raises(run): ...
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    project = tmp_path / "project"
    project.mkdir()
    (project / "model.py").write_text(MODEL)
    return Settings(home=tmp_path / "home", project=project)
