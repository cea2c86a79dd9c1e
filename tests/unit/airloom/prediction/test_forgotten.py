"""Forgotten rows leave the answers that the home keeps; what left it is named, and old answers are collected."""

import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from airloom.datasets import versions
from airloom.errors import Redacted
from airloom.lineage.trace import trace
from airloom.prediction.delivery import Target
from airloom.prediction.folder import Folder
from airloom.prediction.job import carry_out, finished
from airloom.prediction.request import Asked, fix
from airloom.retention import forget
from airloom.retention.folders import answers as collectable
from airloom.retention.items import Rules

DAY = 86_400.0


def test_a_forgotten_row_leaves_the_answers_and_what_is_left_is_answered(
    small, register_ratio, put, tmp_path: Path
) -> None:
    settings, name, model = small.settings, "people", register_ratio(small)
    values = {"who": ["needle", "y", "z"], "a": [1.0, 2.0, 3.0], "b": [2.0, 4.0, 8.0]}
    put(settings, name, values, "who")
    request, out = fix(settings, Asked(model, name)), tmp_path / "answers.parquet"
    carry_out(settings, request, Target(out=str(out)))
    kept = carry_out(settings, request, Target(commit=f"k{name}"[:40])).committed
    folder = Folder(settings, request.id)
    ids = pq.read_table(out).column("prediction_id").to_pylist()
    assert trace(settings, ids[2]).batch.brought_by == f"{name}@v1"
    gone = forget.forget(settings, name, ["needle"], reason="asked for")
    places = {place.name: place for place in gone.places if place.eraser == "answers"}
    assert places[request.id].erased
    assert not places[str(out)].erased
    assert f"forget the same keys in {kept.partition('@')[0]}" in places[kept].note
    assert not folder.path.exists()
    with pytest.raises(Redacted, match="--allow-redacted"):
        fix(settings, Asked(model, f"{name}@v1"))
    left = carry_out(settings, fix(settings, Asked(model, f"{name}@v1", allow_redacted=True)), Target())
    assert pq.read_table(left.folder).column("who").to_pylist() == ["y", "z"]
    found = trace(settings, ids[2]).batch
    assert (found.row, found.brought_by) == (2, "")
    assert versions.latest(settings, name).rows == 2


def test_old_answers_are_collected_and_asked_again_they_are_made_anew(world, model) -> None:
    settings = world.settings
    request = fix(settings, Asked(model, "digits@v1"))
    made = carry_out(settings, request, Target())
    folder = Folder(settings, request.id)
    before = folder.file(0).read_bytes()

    def removal(days: float):
        found = collectable(settings, Rules(time.time() + days * DAY, 30 * DAY, DAY))
        return next(item for item in found if item.name.endswith(request.id))

    assert not removal(1).goes
    with folder.alone():
        assert (removal(60).goes, removal(60).why) == (False, "a batch prediction is at work")
    old = removal(60)
    assert old.goes
    with folder.alone():
        assert old.take() == "a batch prediction has begun meanwhile"
    assert old.take() == ""
    assert finished(settings, request, Target()) is None
    assert carry_out(settings, request, Target()) == made
    assert folder.file(0).read_bytes() == before
