"""Lists of varying length: padded to the longest of a batch with a mask, and brought together by length."""

import json
from itertools import chain

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airloom.datasets.reading.loader import Loader
from airloom.datasets.reading.mapped import Mapped
from airloom.datasets.reading.split_data import SplitData
from airloom.datasets.storage.schema import Layout
from airloom.datasets.types.generic import GenericType
from airloom.errors import ConfigError, DataError

SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64()),
        pa.field("ids", pa.large_list(pa.int32())),
        pa.field("pair", pa.list_(pa.float32(), 2)),
        pa.field("deep", pa.large_list(pa.large_list(pa.int64()))),
        pa.field("tags", pa.large_list(pa.int64())),
    ]
)
LISTS = st.one_of(st.none(), st.lists(st.integers(-(2**31), 2**31 - 1), max_size=9))
PAIRS = st.one_of(st.none(), st.tuples(*[st.floats(width=32, allow_nan=False)] * 2).map(list))
ROWS = st.lists(st.tuples(LISTS, PAIRS), min_size=1, max_size=60)


def shards_of(make, rows, sizes=(20, 0, 7)):
    """Shards of these rows; what does not fit into the given sizes makes the last one."""
    batches, start = [], 0
    for size in (*sizes, len(rows)):
        some = [(start + n, *row, [[1], []], list(row[0] or [])) for n, row in enumerate(rows[start : start + size])]
        columns = [pa.array([row[n] for row in some], field.type) for n, field in enumerate(SCHEMA)]
        batches.append(pa.record_batch(columns, schema=SCHEMA))
        start = min(len(rows), start + size)
    return make(batches)


def loader_of(source, batch_size=8, rows=None, **options):
    layout = Layout("generic", options.pop("label", ""))
    mapped = Mapped(source.files, source.table.schema)
    chosen = np.arange(source.table.num_rows) if rows is None else np.asarray(rows, np.int64)
    return Loader(SplitData(mapped, chosen, layout, GenericType().to_tensors), batch_size, snapshot="s", **options)


def as_lists(batch, name="ids"):
    """The lists that a padded batch holds, told by the mask alone."""
    values, mask = batch[name].tolist(), batch[f"{name}_mask"].tolist()
    return [[value for value, there in zip(*row, strict=True) if there] for row in zip(values, mask, strict=True)]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ROWS, st.integers(1, 9), st.integers(-5, 5))
def test_a_padded_batch_is_the_lists_and_their_mask(make, rows, batch_size, fill):
    seen = []
    for inputs, _ in loader_of(shards_of(make, rows), batch_size, pad={"ids": fill, "pair": 0.5}, label="tags"):
        expected = [rows[row] for row in inputs["row"].tolist()]
        assert as_lists(inputs) == [ids or [] for ids, _ in expected]
        assert as_lists(inputs, "pair") == [pair or [] for _, pair in expected]
        assert inputs["ids"].shape == inputs["ids_mask"].shape
        assert inputs["ids"].shape[1] == max(1, *(len(ids or []) for ids, _ in expected))
        assert set(inputs["ids"][inputs["ids_mask"] == 0].tolist()) <= {fill}
        assert (str(inputs["ids"].dtype), str(inputs["ids_mask"].dtype)) == ("torch.int32", "torch.int64")
        seen += inputs["row"].tolist()
    assert sorted(seen) == list(range(len(rows)))


def test_a_label_of_lists_is_padded_without_a_mask_and_other_lists_come_as_they_are(make):
    source = shards_of(make, [([1, 2, 3], [0, 1]), ([], [2, 3]), ([4], None)])
    ((inputs, labels),) = loader_of(source, shuffle=False, pad={"tags": -100}, label="tags")
    assert labels.tolist() == [[1, 2, 3], [-100] * 3, [4, -100, -100]]
    assert list(inputs) == ["row", "ids", "pair", "deep"]
    assert inputs["ids"] == [[1, 2, 3], [], [4]] and inputs["deep"] == [[[1], []]] * 3


def test_a_batch_of_empty_lists_and_one_without_rows_have_a_width(make):
    source = shards_of(make, [([], None)] * 3)
    widths = [
        tuple(inputs["ids"].shape)
        for rank in (0, 3)
        for inputs, _ in loader_of(source, 4, pad={"ids": 0}, rank=rank, world_size=4)
    ]
    assert widths == [(0, 1), (1, 1)]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"pad": {"id": 0}}, "there is no column 'id'"),
        ({"pad": {"row": 0}}, "the column 'row' is int64"),
        ({"pad": {"deep": 0}}, "'deep' is large_list<"),
        ({"pad": {"ids": 0.5}}, "holds int32, which 0.5 is not"),
        ({"pad": {"ids": 2**31}}, "holds int32, which 2147483648 is not"),
        ({"pad": {"ids": True}}, "holds int32, which True is not"),
        ({"pad": {"pair": "x"}}, "holds float, which 'x' is not"),
        ({"by_length": True}, "by_length needs to know of which lists"),
    ],
)
def test_what_cannot_be_padded_is_refused_before_the_first_batch(make, options, says):
    with pytest.raises(ConfigError, match=says):
        loader_of(shards_of(make, [([1], [0, 0])]), **options)


def test_a_mask_hides_no_column(make):
    schema = pa.schema([pa.field("ids", pa.large_list(pa.int64())), pa.field("ids_mask", pa.int64())])
    source = make([pa.record_batch([pa.array([[1]], schema[0].type), pa.array([1], pa.int64())], schema=schema)])
    with pytest.raises(ConfigError, match="would hide the column 'ids_mask'"):
        loader_of(source, pad={"ids": 0})


def test_a_list_with_an_empty_element_is_refused(make):
    schema = pa.schema([pa.field("ids", pa.large_list(pa.int64()))])
    source = make([pa.record_batch([pa.array([[1, None]], schema[0].type)], schema=schema)])
    with pytest.raises(DataError, match="'ids' has empty cells, or lists with an empty element"):
        list(loader_of(source, pad={"ids": 0}))


# -- by length


@pytest.fixture(scope="module")
def lists(tmp_path_factory):
    """300 rows of 0 to 99 numbers, in three shards."""
    from airloom.datasets.reading.mapped import ShardFile

    folder, drawn = tmp_path_factory.mktemp("lists"), np.random.default_rng(0)
    counts = drawn.integers(0, 100, 300)
    files, batches = [], []
    for number, start in enumerate(range(0, 300, 100)):
        rows = range(start, start + 100)
        ids = [[row] * int(counts[row]) for row in rows]
        schema = pa.schema([pa.field("row", pa.int64()), pa.field("ids", pa.large_list(pa.int64()))])
        batches.append(pa.record_batch([pa.array(rows, pa.int64()), pa.array(ids, schema[1].type)], schema=schema))
        path = folder / f"{number}.arrow"
        with pa.ipc.new_file(path, schema) as writer:
            writer.write_batch(batches[-1])
        files.append(ShardFile(path, "", 100))
    return type("Lists", (), {"files": files, "table": pa.Table.from_batches(batches), "counts": counts})


def sorted_loader(lists, rows=None, **options):
    return loader_of(lists, rows=rows, pad={"ids": 0}, by_length=True, verify=False, **options)


def numbers(batches):
    return [sorted(inputs["row"].tolist()) for inputs, _ in batches]


def joined(parts):
    return [sorted(chain.from_iterable(batch)) for batch in zip(*parts, strict=True)]


@st.composite
def plans(draw):
    return {
        "rows": sorted(draw(st.sets(st.integers(0, 299), min_size=1, max_size=290))),
        "batch_size": draw(st.integers(3, 40)),
        "seed": draw(st.integers(0, 2**40)),
        "drop_last": draw(st.booleans()),
        "shuffle": draw(st.booleans()),
        "prefetch": draw(st.sampled_from([0, 4])),
    }


@settings(max_examples=40, deadline=None)
@given(plans(), st.integers(1, 3), st.integers(1, 3), st.integers(0, 2), st.data())
def test_batches_of_like_length_are_exact_at_any_world_size_and_place(lists, plan, before, after, epoch, data):
    whole = sorted_loader(lists, **plan)
    whole.set_epoch(epoch)
    expected = numbers(whole)
    rows = list(chain.from_iterable(expected))
    assert len(set(rows)) == len(rows) and set(rows) <= set(plan["rows"])
    assert len(plan["rows"]) - len(rows) == (len(plan["rows"]) % plan["batch_size"] if plan["drop_last"] else 0)
    stop = data.draw(st.integers(0, len(expected)))
    states = set()
    for rank in range(before):
        loader = sorted_loader(lists, **plan, rank=rank, world_size=before)
        loader.set_epoch(epoch)
        batches = iter(loader)
        for _ in range(stop):
            next(batches)
        states.add(json.dumps(loader.state_dict()))
        batches.close()
    assert len(states) == 1
    resumed = [sorted_loader(lists, **plan | {"seed": 0}, rank=rank, world_size=after) for rank in range(after)]
    for loader in resumed:
        loader.load_state_dict(json.loads(next(iter(states))))
        loader.set_epoch(epoch)
    assert joined([numbers(loader) for loader in resumed]) == expected[stop:]
    assert joined([numbers(loader) for loader in resumed]) == numbers(whole)  # and so the next epoch


def test_less_is_filled_up_and_long_batches_are_mixed_with_short_ones(lists):
    def filled(batches):
        return sum(int((inputs["ids_mask"] == 0).sum()) for inputs, _ in batches)

    plain, brought = (
        list(loader(lists, batch_size=16))
        for loader in (
            lambda lists, **options: loader_of(lists, pad={"ids": 0}, verify=False, **options),
            sorted_loader,
        )
    )
    assert filled(brought) < filled(plain) / 4
    widths = [inputs["ids"].shape[1] for inputs, _ in brought[:-1]]
    assert widths != sorted(widths)
    epochs = [numbers(sorted_loader(lists, batch_size=16, seed=seed)) for seed in (0, 1)]
    assert epochs[0] != epochs[1]


def test_the_windows_do_not_depend_on_how_the_rows_are_shuffled(lists):
    from airloom.datasets.reading.order import Order

    two_levels = Order(300, True, 0, 20, 4)
    rows = list(chain.from_iterable(numbers(sorted_loader(lists, batch_size=2, order=two_levels))))
    assert sorted(rows) == list(range(300))


@pytest.mark.parametrize("other", [{"batch_size": 15}, {"by_length": False}])
def test_a_state_goes_with_the_batches_that_it_is_of(lists, other):
    options = {"pad": {"ids": 0}, "by_length": True, "batch_size": 16, "verify": False}
    state = loader_of(lists, **options).state_dict()
    assert state["order"] == "by_length/16"
    with pytest.raises(ConfigError, match="the loader state is of batches by_length/16"):
        loader_of(lists, **options | other).load_state_dict(state)
