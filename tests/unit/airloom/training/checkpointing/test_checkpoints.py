import os
import subprocess
import sys
import time
from fractions import Fraction

import pytest
import torch  # noqa: TID253 - a test of torch code

from airloom.errors import ConfigError
from airloom.training.checkpointing.checkpoints import Checkpoints, Pace


@pytest.fixture
def checkpoints(tmp_path):
    return Checkpoints(tmp_path / "checkpoints")


def number(checkpoints):
    path = checkpoints.newest()
    return path and checkpoints.load(path)["n"]


def test_what_was_saved_is_read_and_only_two_stay(checkpoints):
    assert checkpoints.newest() is None
    for n in range(5):
        checkpoints.save({"n": n, "weights": torch.full((100,), n)})
    assert number(checkpoints) == 4
    assert len(list(checkpoints.folder.iterdir())) == 2


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-10], lambda data: data[:50] + b"x" + data[51:], lambda data: b""]
)
def test_a_damaged_one_is_passed_over_with_a_warning(checkpoints, damage, caplog):
    for n in range(2):
        path = checkpoints.save({"n": n, "weights": torch.zeros(100)})
    path.write_bytes(damage(path.read_bytes()))
    assert number(checkpoints) == 0
    assert "damaged and passed over" in caplog.text
    next(iter(checkpoints.folder.glob("00000001-*"))).write_bytes(b"nothing")
    assert number(checkpoints) is None


def test_a_file_that_would_run_code_is_refused(checkpoints, tmp_path):
    checkpoints.save({"n": 1})

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    path = tmp_path / "evil.pt"
    torch.save({"n": Evil()}, path)
    with pytest.raises(ConfigError, match="cannot be read"):
        checkpoints.load(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(("value", "reason"), [(Fraction(1, 3), "pickled code"), (lambda: 1, "cannot hold this")])
def test_what_could_not_be_read_again_is_refused_when_it_is_saved(checkpoints, value, reason):
    with pytest.raises(ConfigError, match=reason):
        checkpoints.save({"n": value})
    assert list(checkpoints.folder.iterdir()) == []


def test_leftovers_of_a_killed_attempt_are_no_checkpoints_and_go(checkpoints):
    checkpoints.save({"n": 1})
    (checkpoints.folder / ".123.tmp").write_bytes(b"half")
    assert number(checkpoints) == 1
    checkpoints.save({"n": 2})
    assert not list(checkpoints.folder.glob(".*"))


def test_a_full_disk_keeps_the_one_before(tmp_path):
    code = f"""
import logging, resource, torch
from pathlib import Path
from airloom.training.checkpointing.checkpoints import Checkpoints
logging.basicConfig()
checkpoints = Checkpoints(Path({str(tmp_path)!r}))
checkpoints.save({{"n": 1}})
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
assert checkpoints.save({{"n": 2, "weights": torch.zeros(1 << 20)}}) is None
assert checkpoints.load(checkpoints.newest())["n"] == 1
assert checkpoints.save({{"n": 3}})
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "File too large; the one before stays" in ended.stderr
    assert sorted(path.name[:8] for path in tmp_path.iterdir()) == ["00000001", "00000002"]


def test_saving_takes_at_most_five_percent(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    pace, spent, saves = Pace(size=1000), 0.0, 0
    while now[0] < 60:
        now[0] += 0.01  # a step
        if pace.due():
            seconds = 0.02 if saves % 3 else 0.08  # costs vary
            now[0] += seconds
            pace.saved(seconds)
            spent, saves = spent + seconds, saves + 1
    assert saves > 20
    assert spent < 0.05 * 60


def test_the_first_one_of_a_large_model_waits(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    pace = Pace(size=1_000_000_000)
    now[0] = 200
    assert not pace.due()
    now[0] = 260
    assert pace.due()
