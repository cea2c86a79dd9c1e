"""What the log of a job holds."""

import subprocess
import sys

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
