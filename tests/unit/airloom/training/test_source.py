import json
from itertools import chain

import numpy as np
import pyarrow as pa
import pytest
import torch  # noqa: TID253 - a test of torch code

from airloom.datasets.commit import commit
from airloom.datasets.ingest import from_table
from airloom.datasets.snapshots.snapshot import prepare
from airloom.datasets.storage.schema import Layout
from airloom.errors import ConfigError
from airloom.inputs.declared import InputProcessing, Scale
from airloom.processing import Pixels, Processing
from airloom.training.scaled import scaled
from airloom.training.source import SnapshotSplits, TensorLoader, TensorSource


@pytest.fixture(scope="module")
def snapshot(shared_home, digits):
    return SnapshotSplits(shared_home, digits)


def rows(loader):
    return [batch[1].tolist() for batch in loader]


def test_memory_and_shards_give_the_same_batches_in_every_epoch(snapshot):
    inputs, labels = snapshot.tensors("train")
    memory = TensorLoader(inputs, labels, 50, seed=3)
    shards = snapshot.loader("train", 50, seed=3)
    for _ in range(2):
        for one, other in zip(memory, shards, strict=True):
            assert torch.equal(one[0], other[0])
            assert torch.equal(one[1], other[1])


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_ranks_share_every_batch_without_overlap(world_size):
    inputs = torch.arange(103)
    whole = rows(TensorLoader(inputs, inputs, 10, seed=1))
    parts = [rows(TensorLoader(inputs, inputs, 10, seed=1, rank=r, world_size=world_size)) for r in range(world_size)]
    assert [sorted(chain(*batch)) for batch in zip(*parts, strict=True)] == whole
    assert sorted(chain(*whole)) == list(range(103))


def test_a_state_goes_on_at_another_number_of_ranks():
    inputs = torch.arange(103)
    loader = TensorLoader(inputs, inputs, 10, seed=1)
    iterator = iter(loader)
    begun = [next(iterator)[1].tolist() for _ in range(4)]
    rest = []
    for rank in range(2):
        other = TensorLoader(inputs, inputs, 10, seed=1, rank=rank, world_size=2)
        other.load_state_dict(loader.state_dict())
        rest += chain(*rows(other))
    assert sorted([*chain(*begun), *rest]) == list(range(103))


def test_bytes_of_images_become_floats_and_all_memory_is_aligned():
    images = torch.tensor([[[[0, 255]]]], dtype=torch.uint8)
    assert scaled(images, None)[0].tolist() == [[[[0.0, 1.0]]]]
    memory = np.zeros(1000, np.float32)
    for start in range(16):
        part, labels = scaled(torch.from_numpy(memory[start:]), {"a": torch.from_numpy(memory[start:])})
        assert part.data_ptr() % 64 == labels["a"].data_ptr() % 64 == 0


def test_an_unknown_split_and_an_empty_batch_are_named():
    source = TensorSource({"train": (torch.zeros(3), torch.zeros(3))})
    with pytest.raises(ConfigError, match=r"no split 'dev'(.|\n)*train"):
        source.tensors("dev")
    with pytest.raises(ConfigError, match="batch_size is 0"):
        source.loader("train", 0)


def test_a_dataset_of_images_declares_the_ranges_of_its_pixels(snapshot):
    assert snapshot.declare(Processing()) == Processing(classes=list(range(10)), pixels=Pixels.UNIT)
    assert snapshot.declare(Processing(pixels=Pixels.BYTES)).pixels is Pixels.BYTES
    assert TensorSource({}).declare(Processing()) == Processing()


def test_a_table_declares_the_ranges_that_were_seen_in_training(shared_home, tmp_path):
    table = pa.table({"hour": np.arange(200) % 24, "miles": np.arange(200) / 2, "late": np.arange(200) % 2})
    rule = {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}}
    (tmp_path / "suite.json").write_text(json.dumps({"name": "ranges", "expectations": [rule]}))
    rows = from_table(table, Layout("tabular", "late"))
    version = commit(shared_home, "ranges", rows, message="first", suite=tmp_path / "suite.json")
    split = {"train": 0.5, "validation": 0.25, "test": 0.25}
    splits = SnapshotSplits(shared_home, prepare(shared_home, version, split))
    inputs, _ = splits.tensors("train")
    expected = {name: (float(values.min()), float(values.max())) for name, values in inputs.items()}
    assert set(expected) == {"hour", "miles"}
    assert splits.declare(Processing()).observed == expected
    several = Processing(
        inputs={
            "numbers": InputProcessing(numbers={"miles": Scale(mean=1, deviation=2)}),
            "hour": InputProcessing(),
            "kind": InputProcessing(categories={"late": [0, 1]}),
        }
    )
    assert splits.declare(several).observed == expected
    own = several.model_copy(update={"observed": {"hour": (0.0, 1.0)}})
    assert splits.declare(own).observed == {"hour": (0.0, 1.0)}
    few = several.model_copy(update={"inputs": {"kind": several.inputs["kind"]}})
    assert splits.declare(few).observed == {}
