"""Every row of bad_input.yaml: a clear message, no traceback, nothing changed."""

from pathlib import Path

import pytest
import yaml

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]
ROWS = yaml.safe_load((Path(__file__).parent / "bad_input.yaml").read_text())


def listings(airloom) -> tuple[object, ...]:
    jobs = sorted(path.name for path in (airloom.home / "jobs").iterdir())
    return airloom.json("dataset", "list"), airloom.json("status")["served"]["digits"]["version"], jobs


@pytest.fixture(scope="module")
def unchanged(airloom):
    before = listings(airloom)
    yield
    assert listings(airloom) == before


@pytest.mark.parametrize("row", ROWS, ids=lambda row: " ".join(row["arguments"])[:60])
def test_bad_input(airloom, unchanged, tmp_path: Path, row: dict) -> None:
    done = airloom.run(*(argument.replace("{tmp}", str(tmp_path)) for argument in row["arguments"]))
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    for text in row["says"]:
        assert text in done.stderr, done.stderr
