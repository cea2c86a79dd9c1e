"""Each row of a dataset version is answered once, as the server answers it, whatever becomes of the process."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airloom.datasets import versions
from airloom.datasets.read import read
from airloom.prediction.delivery import Target
from airloom.prediction.job import carry_out
from airloom.prediction.request import Asked, fix


@pytest.fixture
def model(world):
    """A model of the digits, wrong about two of them."""
    made = world.register("one", wrong=(3, 4))
    return f"{made.model}/{made.version}"


def loop(world, model: str, table: pa.Table) -> list:
    """What a plain loop over the rows says."""
    import airloom
    from airloom.settings import Settings

    images = np.stack(table.column("image").to_pylist()).astype(np.float32).reshape(-1, 1, 8, 8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRLOOM_HOME", str(world.settings.home))
        patch.setenv("AIRLOOM_PROJECT", str(world.settings.project))
        assert isinstance(world.settings, Settings)
        return airloom.load_model(model).predict(images)


def test_every_row_is_answered_as_by_a_loop(world, model, tmp_path: Path) -> None:
    request = fix(world.settings, Asked(model, "digits@v2", columns=["label"], scores=True))
    made = carry_out(world.settings, request, Target(out=str(tmp_path / "answers.parquet")))
    table = pq.read_table(tmp_path / "answers.parquet")
    rows = read(world.settings, versions.get(world.settings, "digits", 2))
    assert made.rows == table.num_rows == rows.num_rows == 800
    assert table.column("prediction").to_pylist() == loop(world, model, rows)
    assert table.column("row").to_pylist() == list(range(800))
    assert table.column("label").to_pylist() == rows.column("label").to_pylist()
    assert len(set(table.column("prediction_id").to_pylist())) == 800
    scores = table.column("scores").to_pylist()
    assert max(scores[5], key=scores[5].get) == str(table.column("prediction")[5])
    assert json.loads(json.dumps(made.to_dict()))["model"] == model
