"""What a model is trained on is what will be made of raw rows when it is asked."""

import numpy as np
import pytest
import torch  # noqa: TID253 - a test of training code

from airloom.errors import ConfigError, DataError
from airloom.inputs.declared import InputProcessing
from airloom.inputs.prepare import Rows, prepare
from airloom.signature import Port, Signature
from airloom.training.prepared import Prepared

GRAPH = Signature(
    (
        Port("ids", "int64", ("batch", "length")),
        Port("mask", "int64", ("batch", "length")),
        Port("numbers", "float32", ("batch", 2)),
        Port("kind", "int64", ("batch", 1)),
        Port("age", "float32", ("batch",)),
    ),
    (),
)
COLUMNS = {
    "words": [[1, 2, 3], [4], []],
    "miles": np.array([1, np.nan, 3], np.float32),
    "hour": np.array([1, 2, 3]),
    "kind": ["a", "b", None],
    "age": np.array([7.5, 8, 9]),
}


@pytest.fixture
def prepared():
    return Prepared(
        {
            "ids": InputProcessing(columns=["words"], pad=0),
            "mask": InputProcessing(mask="ids"),
            "numbers": InputProcessing.learned_numbers({name: COLUMNS[name] for name in ("miles", "hour")}),
            "kind": InputProcessing.learned_categories({"kind": COLUMNS["kind"]}),
            "age": InputProcessing(),
        }
    )


def test_a_batch_is_what_the_graph_will_be_given(prepared):
    loaded = {name: torch.from_numpy(c) if isinstance(c, np.ndarray) else c for name, c in COLUMNS.items()}
    loaded["words"] = [torch.tensor(row, dtype=torch.int64) for row in COLUMNS["words"]]
    inputs, labels = prepared(loaded, "labels")
    expected = prepare(GRAPH, prepared.processing.inputs, COLUMNS, Rows())
    assert (list(inputs), labels) == (list(expected), "labels")
    for name, array in expected.items():
        assert inputs[name].numpy().dtype == array.dtype
        np.testing.assert_array_equal(inputs[name].numpy(), array)
    assert prepared.dynamic == {"ids": {1: "length"}, "mask": {1: "length"}}


def test_a_cell_that_cannot_be_taken_is_named(prepared):
    with pytest.raises(DataError, match="row of the batch 1: 'kind' is a list, and no category"):
        prepared({**COLUMNS, "kind": ["a", ["b"], None]})
    with pytest.raises(DataError, match="no column words"):
        prepared({name: cells for name, cells in COLUMNS.items() if name != "words"})


def test_texts_alone_need_no_column():
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[PAD]": 0, "[UNK]": 1, "well": 2}, "[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    prepared = Prepared({"ids": InputProcessing.tokens(made, 4, ["text"]), "mask": InputProcessing(mask="ids")})
    inputs, _ = prepared(["well", "well well no"])
    assert inputs["ids"].tolist() == [[2, 0, 0], [2, 2, 1]]
    assert inputs["mask"].tolist() == [[1, 0, 0], [1, 1, 1]]


def test_an_example_of_short_rows_has_room_for_two_values():
    prepare = Prepared({"ids": InputProcessing(pad=7), "mask": InputProcessing(mask="ids"), "size": InputProcessing()})
    short = {"ids": torch.tensor([[3], [4]]), "mask": torch.ones(2, 1, dtype=torch.int64), "size": torch.ones(2)}
    wide = prepare.widened(short)
    assert wide["ids"].tolist() == [[3, 7], [4, 7]]
    assert wide["mask"].tolist() == [[1, 0], [1, 0]]
    assert wide["size"] is short["size"]
    assert prepare.widened(wide)["ids"] is wide["ids"]


def test_what_a_split_gives_is_learned_from_as_it_is():
    """Columns of numbers come as tensors, texts as lists."""
    numbers = InputProcessing.learned_numbers({"miles": torch.tensor([1.0, torch.nan, 3.0])})
    assert numbers.numbers["miles"].mean == 2
    kinds = InputProcessing.learned_categories({"kind": torch.tensor([7, 2, 7]), "late": torch.tensor([True, False])})
    assert kinds.categories == {"kind": [2, 7], "late": [False, True]}
    with pytest.raises(ConfigError, match="row 1 of the column 'city' is text, and no number"):
        InputProcessing.learned_numbers({"city": [1, "Bern"]})
    with pytest.raises(ConfigError, match="row 1 of the column 'city' is a list, and no category"):
        InputProcessing.learned_categories({"city": ["Bern", ["Bern"]]})
