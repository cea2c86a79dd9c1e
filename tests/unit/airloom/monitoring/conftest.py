from pathlib import Path

import pytest

from airloom.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", project=tmp_path, database="", namespace="", metrics_minute_days=0)
