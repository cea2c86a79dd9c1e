"""A home with people in it."""

from dataclasses import replace
from pathlib import Path

import pytest
from forgetting.world import World

from airloom.datasets import commit as commits
from airloom.datasets import edit
from airloom.datasets.validation.validate import Report
from airloom.settings import Settings


@pytest.fixture
def unvalidated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Great Expectations, which takes ten times as long as all else; some tests have it."""
    passed = Report(True, "", "")
    for module in (commits, edit):
        monkeypatch.setattr(module, "validate", lambda s, *_, **__: replace(passed, page=str(s.home / "r.html")))


@pytest.fixture
def world(settings: Settings, tmp_path: Path, unvalidated: None) -> World:
    """A home without anybody in it yet."""
    return World(settings, tmp_path / "suite.json")
