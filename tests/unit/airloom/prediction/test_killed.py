"""A batch prediction killed at any sync or rename goes on to the very bytes of one that nobody disturbed."""

import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from airloom.datasets import versions
from airloom.datasets.read import read
from airloom.prediction.folder import Folder
from airloom.prediction.request import Asked, fix

SCRIPT = Path(__file__).with_name("killed.py")
pytestmark = [pytest.mark.timeout(1800)]


def play(world, *words: str) -> int:
    places = {"AIRLOOM_HOME": str(world.settings.home), "AIRLOOM_PROJECT": str(world.settings.project)}
    command = [sys.executable, str(SCRIPT), *words]
    done = subprocess.run(command, env=os.environ | places, capture_output=True, text=True, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr[-3000:]
    return done.returncode


@pytest.mark.matrix("kills", [10], sample=[2])
def test_a_killed_one_goes_on_and_ends_with_the_same_bytes(world, tmp_path: Path, record_property, kills: int) -> None:
    made = world.register("one", wrong=(3, 4))
    model, out, settings = f"{made.model}/{made.version}", tmp_path / "answers.parquet", world.settings
    folder = Folder(settings, fix(settings, Asked(model, "digits@v2", scores=True, columns=["label"])).id)
    assert play(world, model, "digits@v2", str(out), "", "0") == 0
    undisturbed, journal = out.read_bytes(), len(folder.finished())
    assert journal >= 8
    table = pq.read_table(out)
    # A part has a sync of its file, a rename, one of its folder, and one of the journal; before and after are a few.
    drawn, reached = random.Random(kills), []
    points = drawn.sample(range(1, 4 * journal + 10), kills)
    for point in points:
        out.unlink(missing_ok=True)
        shutil.rmtree(folder.path)
        died = play(world, model, "digits@v2", str(out), "", str(point))
        reached.append(f"{len(folder.finished())} of {journal}" if died else "the end")
        assert play(world, model, "digits@v2", str(out), "", "0") == 0
        assert out.read_bytes() == undisturbed, f"killed at {point}"
        assert [path.name for path in tmp_path.iterdir()] == ["answers.parquet"]
    record_property("batch prediction", f"killed with {', '.join(reached)} parts there; each ended with the same bytes")
    assert table.column("row").to_pylist() == list(range(800))


@pytest.mark.matrix("point", [1, 3, 4, 6, 9, 12, 20, 30, 40, 50], sample=[40])
def test_a_killed_commit_of_answers_is_there_once(world, point: int) -> None:
    made = world.register("one")
    model, name = f"{made.model}/{made.version}", f"answers_{world.pipeline.pipeline}_{point}"[:40]
    play(world, model, "digits@v1", "", name, str(point))
    for _ in range(2):
        assert play(world, model, "digits@v1", "", name, "0") == 0
    (version,) = versions.list_versions(world.settings, name)
    rows = read(world.settings, version)
    assert rows.column("row").to_pylist() == list(range(400))
    assert rows.column("dataset").unique().to_pylist() == ["digits@v1"]
