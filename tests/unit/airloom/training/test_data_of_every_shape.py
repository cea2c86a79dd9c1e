"""Sequences, tables and rows without labels: from a file to what a training gets, and killed on the way."""

import datetime as dt
import json
import math

import pyarrow as pa
import pytest
import torch  # noqa: TID253 - a test of torch code
from torch import nn  # noqa: TID253

from airloom.datasets import diff
from airloom.datasets.commit import commit
from airloom.datasets.ingest import Reading, from_table, open_source
from airloom.datasets.snapshots import snapshot
from airloom.datasets.storage.schema import Layout
from airloom.errors import DataError
from airloom.training import InputProcessing, Processing, TensorSource, fit
from airloom.training.run import TrainingRun
from airloom.training.source import SnapshotSplits
from airloom.training.world import World

SPLIT = {"train": 0.7, "validation": 0.3}


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    path = tmp_path_factory.mktemp("suite") / "suite.json"
    rule = {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}}
    path.write_text(json.dumps({"name": "any", "expectations": [rule]}))
    return path


def token_lines(first, rows):
    """Rows of 0 to 12 tokens, whose sum says the class."""
    for row in range(first, first + rows):
        tokens = [1 + (row * 7 + place * row) % 9 for place in range(row % 13)]
        yield json.dumps({"row": row, "tokens": tokens, "label": int(sum(tokens) > 25)}) + "\n"


@pytest.fixture(scope="module")
def tokens(shared_home, suite, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokens")
    versions = []
    for name, lines in (("a.jsonl", token_lines(0, 150)), ("b.jsonl", token_lines(150, 30))):
        (folder / name).write_text("".join(lines))
        versions.append(commit(shared_home, "tokens", open_source(folder / name), message="rows", suite=suite))
    return versions


class Sink:
    """Keeps what is reported."""

    def __init__(self):
        self.reports, self.model = {}, None

    def report(self, step, metrics):
        self.reports[step] = metrics

    def sync(self):
        """Nothing is on disk."""

    def save(self, model, example):
        self.model = model


def run_of(source, sink=None, state=None, **world):
    return TrainingRun({}, 0, source, sink or Sink(), "cpu", state=state, world=World(**world))


def test_lists_go_through_commit_profile_and_diff(shared_home, tokens):
    found = diff.diff(shared_home, *tokens)
    assert found.rows == {"added": 30, "removed": 0, "kept": 150}
    assert found.shift["tokens.items"]["old_mean"] == pytest.approx(sum(row % 13 for row in range(150)) / 150)


def test_a_training_gets_padded_batches_of_like_length_and_goes_on(shared_home, tokens, tmp_path, monkeypatch):
    monkeypatch.setattr("airloom.training.checkpointing.checkpoints.Pace.due", lambda _: True)
    source = SnapshotSplits(shared_home, snapshot.prepare(shared_home, tokens[1], SPLIT))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.head = nn.Embedding(10, 8), nn.Linear(8, 2)

        def forward(self, tokens, tokens_mask):
            return self.head((self.embed(tokens) * tokens_mask.unsqueeze(-1)).sum(1))

    def training(state, until=None):
        torch.manual_seed(0)
        model, sink, batches = Net(), Sink(), []
        run = run_of(source, sink, state)

        def loss(outputs, batch):
            if model.training:
                batches.append(batch["row"].tolist())
                if len(batches) == until:
                    raise KeyboardInterrupt
            return nn.functional.cross_entropy(outputs, batch["label"])

        optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
        options = {"named": True, "pad": {"tokens": 0}, "by_length": True, "ema": 0.5}
        try:
            fit(run, model, loss=loss, optimizer=optimizer, epochs=4, batch_size=16, **options)
        except KeyboardInterrupt:
            return batches
        return batches, sink.reports, [part.clone() for part in model.state_dict().values()]

    whole, reports, weights = training(tmp_path / "a")
    assert reports[3]["validation_loss"] < reports[0]["validation_loss"]
    training(tmp_path / "b", until=13)
    rest, again, same = training(tmp_path / "b")
    assert rest == whole[-len(rest) :] and len(rest) < len(whole)
    assert all(torch.equal(a, b) for a, b in zip(weights, same, strict=True))
    assert again[3] == reports[3]
    assert run_of(source).example(named=True, pad={"tokens": 0})["tokens_mask"].shape[0] == 2


def test_an_example_of_padded_rows_has_no_label_and_says_how_they_were_filled_up(shared_home, tokens):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.head = nn.Embedding(10, 8), nn.Linear(8, 2)

        def forward(self, tokens, tokens_mask):
            return self.head((self.embed(tokens) * tokens_mask.unsqueeze(-1)).sum(1))

    class Kept(Sink):
        def save(self, model, example):
            self.example = example

    source, sink = SnapshotSplits(shared_home, snapshot.prepare(shared_home, tokens[1], SPLIT)), Kept()
    run = run_of(source, sink)
    example = run.example(named=True, pad={"tokens": 0})
    assert "label" not in example
    inputs = {name: example[name] for name in ("tokens", "tokens_mask")}  # the dataset has a column more
    run.save_model(Net(), inputs)
    declared = run.processing.inputs
    assert (declared["tokens"].pad, declared["tokens_mask"].mask) == (0, "tokens")
    assert sink.example.open["tokens"].keys() == sink.example.open["tokens_mask"].keys() == {1}
    ours = InputProcessing(pad=7)
    run.save_model(Net(), inputs, processing=Processing(inputs={"tokens": ours}), dynamic={})
    assert run.processing.inputs == {"tokens": ours}


def test_lists_of_one_length_are_told_how_to_stay_open(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"x": [1, 2], "label": 1}\n')
    first = open_source(path).schema
    assert first.field("x").type == pa.list_(pa.int64(), 2)
    path.write_text('{"x": [1, 2, 3], "label": 1}\n')
    given = {"type": "generic", "label": "label"}
    with pytest.raises(DataError, match="row 1 of column 'x' does not fit") as caught:
        open_source(path, schema=first, **given).to_table()
    assert "list<int64>" in caught.value.hint
    kept = open_source(path, reading=Reading(columns={"x": "list<int64>"}), **given)
    assert kept.schema.field("x").type == pa.large_list(pa.int64())


@pytest.mark.parametrize("empty", ["[]", "[[], []]"])
def test_lists_that_are_all_empty_tell_no_type_and_take_one(tmp_path, empty):
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"x": {empty}, "label": 1}}\n')
    with pytest.raises(DataError, match="the lists of column 'x' are all empty"):
        open_source(path)
    if empty == "[]":
        kept = open_source(path, reading=Reading(columns={"x": "list<int64>"})).to_table()
        assert kept["x"].to_pylist() == [[]] and kept.schema.field("x").type == pa.large_list(pa.int64())


# -- tables


def test_a_table_reaches_a_model_in_one_form_in_every_batch(shared_home, suite):
    rows = 40
    gap = lambda row, value: None if row == 7 else value  # noqa: E731
    moment = dt.datetime(2026, 1, 2, 3, 4, 5, 250_000)
    columns = {
        "row": pa.array(range(rows), pa.int64()),
        "size": pa.array([gap(row, row) for row in range(rows)], pa.int64()),
        "city": pa.array([gap(row, f"c{row % 3}") for row in range(rows)], pa.large_string()),
        "seen": pa.array([gap(row, moment + dt.timedelta(days=row)) for row in range(rows)], pa.timestamp("ms")),
        "zoned": pa.array([gap(row, row) for row in range(rows)], pa.timestamp("ns", "Europe/Berlin")),
        "day": pa.array([dt.date(1969, 12, 31)] * rows, pa.date32()),
        "clock": pa.array([gap(row, dt.time(1, 0, row)) for row in range(rows)], pa.time32("s")),
        "took": pa.array([gap(row, dt.timedelta(milliseconds=row)) for row in range(rows)], pa.duration("us")),
        "price": pa.array([gap(row, row) for row in range(rows)], pa.decimal128(10, 2)),
        "bought": pa.array([row % 2 == 0 for row in range(rows)], pa.bool_()),
    }
    made = commit(
        shared_home, "sales", from_table(pa.table(columns), Layout("tabular", "bought")), message="x", suite=suite
    )
    source = SnapshotSplits(shared_home, snapshot.prepare(shared_home, made, {"train": 1.0}))
    seen = 0
    for batch in run_of(source).loader("train", 3, named=True):
        assert set(batch) == set(columns)
        kinds = {name: str(getattr(cells, "dtype", type(cells).__name__)) for name, cells in batch.items()}
        floats = dict.fromkeys(("size", "seen", "zoned", "day", "clock", "took", "price"), "torch.float64")
        assert kinds == {"row": "torch.int64", "city": "list", "bought": "torch.int64"} | floats
        for place, row in enumerate(batch["row"].tolist()):
            expected = {
                "size": row,
                "seen": moment.replace(tzinfo=dt.UTC).timestamp() + 86_400 * row,
                "zoned": row / 1e9,
                "clock": 3600 + row,
                "took": row / 1000,
                "price": row,
            }
            values = {name: batch[name][place].item() for name in expected}
            if row == 7:
                assert all(map(math.isnan, values.values())) and batch["city"][place] is None
            else:
                assert values == pytest.approx(expected) and batch["city"][place] == f"c{row % 3}"
            assert batch["day"][place] == -86_400
            seen += 1
    assert seen == rows


# -- without labels


@pytest.mark.parametrize("kind", ["image", "text"])
def test_images_and_texts_without_labels_are_committed_and_read(shared_home, suite, kind):
    if kind == "image":
        pixels = pa.FixedSizeListArray.from_arrays(
            pa.array([number % 256 for number in range(20 * 12)], pa.uint8()), 12
        )
        field = pa.field("image", pixels.type, metadata={"shape": "3,2,2"})
        table = pa.table([pixels], schema=pa.schema([field]))
    else:
        table = pa.table({"text": [f"text {number}" for number in range(20)]})
    made = commit(shared_home, f"bare_{kind}", from_table(table, Layout(kind)), message="x", suite=suite)
    source = SnapshotSplits(shared_home, snapshot.prepare(shared_home, made, SPLIT))
    run = run_of(source)
    inputs, labels = run.tensors("train")
    assert labels is None and run.classes == []
    rows = sum(len(batch[kind]) for batch in run.loader("train", 4, named=True))
    assert rows == len(inputs)
    assert [labels for _, labels in run.loader("train", 4)] == [None] * -(-rows // 4)
    if kind == "image":
        model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2), nn.Linear(2, 12), nn.Unflatten(1, (3, 2, 2)))
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        fit(run, model, loss=nn.functional.mse_loss, optimizer=optimizer, epochs=2, batch_size=4)
        assert set(run._sink.reports[1]) == {"train_loss", "validation_loss"}


def test_tensors_without_labels_have_no_classes():
    run = run_of(TensorSource({"train": (torch.zeros(3, 2), None)}))
    assert run.classes == [] and run.tensors("train")[1] is None
    assert [list(batch) for batch in run.loader("train", 2, named=True)] == [["input"], ["input"]]
