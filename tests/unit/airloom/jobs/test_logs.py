"""What the log of a job holds."""

import subprocess
import sys

import pytest

from airloom.jobs import logs

CODE = """
import logging
from airloom.jobs import logs
logs.configure()
for name in ("airloom.x", "their_model", "matplotlib.font_manager", "alembic.runtime"):
    logging.getLogger(name).info("told by %s", name)
logging.getLogger("matplotlib").warning("no such font")
"""


def test_a_library_tells_warnings_only_and_the_project_everything():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    told = [line.partition(": ")[2] for line in done.stdout.splitlines()]
    assert told == ["told by airloom.x", "told by their_model", "no such font"]


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (
            "2026-11-30 09:15:52,458 INFO airloom.tuning.worker.lane: trial 0 begins: {'lr': 0.1}",
            "trial 0 begins: {'lr': 0.1}",
        ),
        ("2026-11-30 09:15:52,458 INFO shop.model: read: 3 rows", "read: 3 rows"),
        ("2026-11-30 09:15:52,458 INFO mlflow.store.db.utils: Creating tables", ""),
        ("2026-11-30 09:15:52,458 INFO httpx: HTTP Request: GET", ""),
        ("2026-11-30 09:15:52,458 WARNING mlflow.utils: old", "warning: old"),
        ("2026-11-30 09:15:52,458 ERROR airloom.x: gone", "error: gone"),
        ("epoch 3: loss 0.1", "epoch 3: loss 0.1"),
        ("", ""),
        ("2026-11-30 INFO: not ours", "2026-11-30 INFO: not ours"),
    ],
)
def test_a_terminal_shows_what_is_said_and_not_by_whom(line: str, shown: str) -> None:
    assert logs.for_people(line) == shown
