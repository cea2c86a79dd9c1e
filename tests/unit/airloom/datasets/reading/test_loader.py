"""The loader: every row once, the same at any world size, resumable anywhere, and valid as long as it is held."""

import gc
import json
import threading
import time
from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.datasets.reading.loader import Loader
from airloom.datasets.reading.order import Order
from airloom.errors import ConfigError


def loader_of(source, batch_size=32, rows=None, **options):
    options.setdefault("snapshot", "abc")
    return Loader(source.data(rows), batch_size, **options)


def numbers(batches):
    return [sorted(labels.tolist()) for _, labels in batches]


def joined(parts):
    """The global batches, from the batches of each rank."""
    return [sorted(chain.from_iterable(batch)) for batch in zip(*parts, strict=True)]


@pytest.mark.parametrize("options", [{}, {"prefetch": 0}, {"threads": 3}, {"processes": 2}, {"shuffle": False}])
def test_an_epoch_is_the_source_row_for_row(source, options):
    seen = []
    for inputs, labels in loader_of(source, **options):
        expected = source.table.take(labels.numpy())
        assert inputs["image"].flatten(1).tolist() == expected["image"].to_pylist()
        assert inputs["text"] == expected["text"].to_pylist()
        assert inputs["blob"] == expected["blob"].to_pylist()
        seen += labels.tolist()
    assert sorted(seen) == list(range(240))
    assert (seen == list(range(240))) == (options == {"shuffle": False})


@st.composite
def plans(draw):
    return {
        "rows": sorted(draw(st.sets(st.integers(0, 239), max_size=120))),
        "batch_size": draw(st.integers(6, 50)),
        "seed": draw(st.integers(0, 2**40)),
        "drop_last": draw(st.booleans()),
        "prefetch": draw(st.sampled_from([0, 1, 16])),
    }


@settings(max_examples=60, deadline=None)
@given(plans(), st.integers(1, 6), st.booleans())
def test_the_global_batches_are_the_same_at_any_world_size(lasting, plan, world, two_levels):
    order = Order(len(plan["rows"]), True, 0, 7, 3) if two_levels else None
    alone = loader_of(lasting, **plan, order=order)
    ranks = [loader_of(lasting, **plan, order=order, rank=rank, world_size=world) for rank in range(world)]
    for _ in range(2):
        whole = numbers(alone)
        assert joined([numbers(rank) for rank in ranks]) == whole
        assert {len(rank) for rank in ranks} == {len(alone)} == {len(whole)}
        rows = list(chain.from_iterable(whole))
        assert len(set(rows)) == len(rows) and set(rows) <= set(plan["rows"])
        assert len(plan["rows"]) - len(rows) == (len(plan["rows"]) % plan["batch_size"] if plan["drop_last"] else 0)


@settings(max_examples=60, deadline=None)
@given(plans(), st.integers(1, 6), st.integers(1, 6), st.integers(0, 3), st.data())
def test_a_resume_at_any_other_world_size_gives_the_remaining_batches(lasting, plan, before, after, epoch, data):
    whole = loader_of(lasting, **plan)
    whole.set_epoch(epoch)
    expected = numbers(whole)
    stop = data.draw(st.integers(0, len(expected)))
    states = []
    for rank in range(before):
        loader = loader_of(lasting, **plan, rank=rank, world_size=before)
        loader.set_epoch(epoch)
        batches = iter(loader)
        for _ in range(stop):
            next(batches)
        states.append(json.dumps(loader.state_dict()))
        batches.close()
    assert len(set(states)) == 1 and len(states[0]) < 1024
    other = {**plan, "seed": 0}  # the state brings the seed
    resumed = [loader_of(lasting, **other, rank=rank, world_size=after) for rank in range(after)]
    for loader in resumed:
        loader.load_state_dict(json.loads(states[0]))
        loader.set_epoch(epoch)  # as training loops do before each epoch: the position stays
    assert joined([numbers(loader) for loader in resumed]) == expected[stop:]
    assert joined([numbers(loader) for loader in resumed]) == numbers(whole)  # and so the next epoch


def test_processes_resume_to_the_same_batches(source):
    loader = loader_of(source)
    batches = iter(loader)
    next(batches), next(batches)
    state = loader.state_dict()
    expected = numbers(batches)
    resumed = loader_of(source, processes=2)
    resumed.load_state_dict(state)
    assert numbers(resumed) == expected


def test_processes_take_nothing_from_the_random_numbers_of_the_training(source):
    import torch

    before = torch.get_rng_state()
    list(loader_of(source, processes=1))
    assert torch.equal(before, torch.get_rng_state())


def test_each_epoch_has_its_own_order_and_the_same_seed_the_same(source):
    one, two = loader_of(source, seed=5), loader_of(source, seed=5)
    epochs = [numbers(one) for _ in range(3)]
    assert epochs == [numbers(two) for _ in range(3)]
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]


def test_after_a_break_the_state_stands_where_it_was_left_and_the_next_epoch_follows(source):
    loader = loader_of(source)
    for _ in loader:
        break
    assert loader.state_dict() == {"snapshot": "abc", "seed": 0, "epoch": 0, "position": 32}
    rest = loader_of(source)
    rest.load_state_dict(loader.state_dict())
    assert len(numbers(rest)) == 7
    assert len(numbers(loader)) == 8 and loader.state_dict()["epoch"] == 2


def test_what_is_read_ahead_is_not_in_the_state(source):
    loader = loader_of(source, batch_size=8, threads=2)
    batches = iter(loader)
    next(batches)
    time.sleep(0.1)
    assert loader.state_dict()["position"] == 8


def test_set_epoch_begins_that_epoch_anew(source):
    loader = loader_of(source)
    first = numbers(loader)
    loader.set_epoch(0)
    assert numbers(loader) == first


@pytest.mark.parametrize("options", [{}, {"prefetch": 0}, {"threads": 2}, {"views": True}])
def test_a_list_of_all_batches_holds_every_row_intact(source, options):
    kept = list(loader_of(source, batch_size=7, **options))
    for inputs, labels in kept:
        expected = source.table.take(labels.numpy())
        assert inputs["image"].flatten(1).tolist() == expected["image"].to_pylist()
        assert [bytes(blob) for blob in inputs["blob"]] == expected["blob"].to_pylist()
    assert sorted(chain.from_iterable(numbers(kept))) == list(range(240))


def test_any_few_batches_that_are_held_stay_intact_while_others_go(source):
    random = np.random.default_rng(0)
    held = []
    for inputs, labels in loader_of(source, batch_size=3):
        held.append((inputs["image"][1:], labels[1:]))
        held = [batch for batch in held if random.random() < 0.7]
        for images, numbers_ in held:
            assert images.flatten(1).tolist() == source.table.take(numbers_.numpy())["image"].to_pylist()


def test_memory_that_is_let_go_is_used_again(source):
    for options in ({}, {"threads": 2, "prefetch": 4}):
        places = {inputs["image"].data_ptr() for inputs, _ in loader_of(source, batch_size=2, **options)}
        assert len(places) < 40  # of 120 batches


def test_reuse_bounds_the_memory_whatever_is_held(source):
    kept = list(loader_of(source, batch_size=2, prefetch=4, reuse=True))
    assert len({inputs["image"].data_ptr() for inputs, _ in kept}) <= 10


def test_reuse_leaves_a_batch_alone_until_the_next_is_asked_for(source):
    for options in ({"prefetch": 0}, {"prefetch": 2}, {"prefetch": 8, "threads": 3}):
        for inputs, labels in loader_of(source, batch_size=4, reuse=True, **options):
            time.sleep(0.001)
            assert inputs["image"].flatten(1).tolist() == source.table.take(labels.numpy())["image"].to_pylist()


def test_views_outlive_the_loader(source):
    kept = [blob for inputs, _ in loader_of(source, shuffle=False, views=True) for blob in inputs["blob"]]
    gc.collect()
    assert all(isinstance(blob, memoryview) for blob in kept)
    assert [bytes(blob) for blob in kept] == source.table["blob"].to_pylist()


def negated(inputs, labels):
    return -inputs["label"] if "label" in inputs else inputs["image"].float(), -labels


@pytest.mark.parametrize("options", [{}, {"threads": 2}, {"processes": 2}])
def test_a_transform_sees_each_batch_and_what_it_returns_is_yielded(source, options):
    found = [number for _, labels in loader_of(source, transform=negated, **options) for number in labels.tolist()]
    assert sorted(found) == list(range(-239, 1))


def fails_at_row_100(inputs, labels):
    if 100 in labels.tolist():
        raise LookupError("row 100 cannot be decoded")
    return labels


@pytest.mark.parametrize("options", [{}, {"prefetch": 0}, {"threads": 2}, {"processes": 1}])
def test_an_error_in_a_transform_arrives_and_the_state_stands_before_it(source, options):
    loader = loader_of(source, shuffle=False, transform=fails_at_row_100, **options)
    with pytest.raises(LookupError, match="row 100 cannot be decoded"):
        list(loader)
    assert loader.state_dict()["position"] == 96


def test_threads_of_a_loader_end_when_it_is_left(source):
    for _ in loader_of(source, batch_size=4, threads=3):
        break
    deadline = time.monotonic() + 10
    while (left := [t for t in threading.enumerate() if t.name.startswith("airloom-")]) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not left


def test_a_split_without_rows_has_no_batches(source):
    loader = loader_of(source, rows=[])
    assert len(loader) == 0 and list(loader) == []


def test_a_last_batch_smaller_than_the_world_is_empty_for_some_ranks_so_that_all_make_as_many_steps(source):
    ranks = [numbers(loader_of(source, batch_size=239, rank=rank, world_size=3)) for rank in range(3)]
    assert [[len(batch) for batch in rank] for rank in ranks] == [[79, 0], [80, 0], [80, 1]]


def test_a_state_of_another_snapshot_is_refused(source):
    state = loader_of(source, snapshot="one").state_dict()
    loader = loader_of(source, snapshot="two")
    with pytest.raises(ConfigError, match=r"state is of snapshot one, this is two\n.*fetch the snapshot"):
        loader.load_state_dict(state)
    assert loader.state_dict()["snapshot"] == "two"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_size": 2, "world_size": 3}, "batch_size is 2.*\n.*from 3 up"),
        ({"batch_size": 2.0}, "batch_size is 2.0"),
        ({"seed": -1}, "seed is -1"),
        ({"rank": 2, "world_size": 2}, "world_size is 2"),
        ({"rank": None}, "rank is None"),
        ({"prefetch": -1}, "prefetch is -1"),
        ({"threads": 0}, "threads is 0"),
        ({"processes": True}, "processes is True"),
        ({"processes": 1, "views": True}, "views=True does not go with processes"),
        ({"order": Order(7)}, "an order of 7 rows for 240 rows"),
    ],
)
def test_an_argument_out_of_range_is_named_with_its_value(source, options, says):
    with pytest.raises(ConfigError, match=says):
        loader_of(source, **options)
