"""Transforms in the loader's threads: of a row or a batch, and what they draw is the same whenever it is read again."""

import pytest
import torch  # noqa: TID253 - a test of torch code

from airloom.errors import ConfigError
from airloom.training import TensorSource
from airloom.training.run import TrainingRun
from airloom.training.source import SnapshotSplits
from airloom.training.world import World


class Sink:
    """Not needed."""

    def sync(self):
        """Not needed."""


def noisy(image):
    """As torchvision's v2 draw: by functions of torch, and in place."""
    shift = int(torch.randint(0, 3, ()))
    image = image + 0.1 * torch.randn(image.shape) * torch.empty(1).uniform_(0.5, 1)
    return image.roll(shift, -1) if torch.rand(1) < 0.5 else image


def noisy_batch(images, labels):
    return images * torch.rand(len(images), 1, 1, 1), labels[torch.randperm(len(labels))]


def run_of(source, rank=0, size=1):
    return TrainingRun({}, 3, source, Sink(), "cpu", world=World(rank, size))


def rows_by_place(loader, batches):
    """Each image by what is left of its position: its label and its sum before the transform would collide."""
    return {row.numpy().tobytes() for images, _ in batches for row in images}


@pytest.fixture
def splits(shared_home, digits):
    return SnapshotSplits(shared_home, digits)


def test_a_row_draws_the_same_at_any_place_thread_and_number_of_ranks(splits):
    options = {"row_transform": noisy, "threads": 3}
    whole = list(run_of(splits).loader("train", 16, **options))
    torch.manual_seed(99)
    again = list(run_of(splits).loader("train", 16, row_transform=noisy, threads=1))
    for (images, labels), (others, same) in zip(whole, again, strict=True):
        assert torch.equal(images, others) and torch.equal(labels, same)
    ranks = [list(run_of(splits, rank, 2).loader("train", 16, **options)) for rank in range(2)]
    assert rows_by_place(None, ranks[0] + ranks[1]) == rows_by_place(None, whole)
    loader = run_of(splits).loader("train", 16, **options).plain
    loader.set_epoch(1)
    assert rows_by_place(None, list(loader)).isdisjoint(rows_by_place(None, whole))


@pytest.mark.parametrize("options", [{"threads": 3}, {"processes": 1}])
def test_a_resumed_epoch_draws_what_the_whole_one_drew(splits, options):
    options |= {"row_transform": noisy, "transform": noisy_batch}
    loader = run_of(splits).loader("train", 16, **options).plain
    whole = list(loader)
    loader.set_epoch(0)
    batches = iter(loader)
    for _ in range(2):
        next(batches)
    state = loader.state_dict()
    resumed = run_of(splits).loader("train", 16, **options).plain
    resumed.load_state_dict(state)
    for (images, labels), (others, same) in zip(whole[2:], resumed, strict=True):
        assert torch.equal(images, others) and torch.equal(labels, same)


def test_the_trainings_own_numbers_stay_what_they_are(splits):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    list(run_of(splits).loader("train", 16, row_transform=noisy, transform=noisy_batch, threads=2))
    assert torch.equal(torch.rand(3), expected)


def test_tensors_in_memory_and_dicts_are_transformed_too(data):
    inputs, labels = data.tensors("train")
    run = run_of(TensorSource({"train": (inputs, labels)}))

    def row(columns):
        assert columns["label"].ndim == 0
        return {"input": noisy(columns["input"]), "label": columns["label"], "twice": 2 * columns["label"]}

    first, again = ([*run.loader("train", 16, row_transform=row, named=True)] for _ in range(2))
    for batch, other in zip(first, again, strict=True):
        assert torch.equal(batch["twice"], 2 * batch["label"]) and torch.equal(batch["input"], other["input"])
    assert not torch.equal(torch.cat([b["input"] for b in first]).sum(), inputs.sum())


@pytest.mark.parametrize(
    ("transform", "says"),
    [
        (lambda row: torch.nn.functional.dropout(row), "calls torch's dropout, which nothing seeds"),
        (lambda row: row[..., : int(torch.randint(1, 8, ()))], "tensors of several shapes"),
    ],
)
def test_what_cannot_be_read_again_is_refused(splits, transform, says):
    with pytest.raises(ConfigError, match=says):
        list(run_of(splits).loader("train", 16, row_transform=transform))


def test_torchvision_transforms_run_where_it_is_installed(splits):
    v2 = pytest.importorskip("torchvision.transforms.v2", exc_type=(ImportError, RuntimeError))
    augment = v2.Compose([v2.RandomHorizontalFlip(), v2.RandomResizedCrop(8), v2.ColorJitter(0.3)])
    first, again = ([*run_of(splits).loader("train", 16, row_transform=augment)] for _ in range(2))
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(first, again, strict=True))
