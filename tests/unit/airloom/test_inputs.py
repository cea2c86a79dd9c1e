"""What becomes of a row's columns before a graph."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.errors import ConfigError, DataError
from airloom.inputs.declared import InputProcessing, Scale
from airloom.inputs.pixels import Pixels
from airloom.inputs.prepare import Rows, check, columns_of, needed, prepare
from airloom.signature import Port, Signature

IDS = Port("ids", "int64", ("batch", "length"))
MASK = Port("mask", "int64", ("batch", "length"))
TABLE = Port("numbers", "float32", ("batch", 2))
KINDS = Port("kinds", "int64", ("batch", 2))


def made(ports, declared, columns, **rows):
    return prepare(Signature(tuple(ports), ()), declared, columns, Rows(**rows))


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(1, 9), max_size=7), min_size=1, max_size=5))
def test_shorter_rows_are_filled_up_and_the_mask_says_where(rows):
    declared = {"ids": InputProcessing(pad=0), "mask": InputProcessing(mask="ids")}
    arrays = made([IDS, MASK], declared, {"ids": rows})
    assert arrays["ids"].shape == arrays["mask"].shape == (len(rows), max(1, *map(len, rows), 0))
    for row, filled, there in zip(rows, arrays["ids"].tolist(), arrays["mask"].tolist(), strict=True):
        rest = len(filled) - len(row)
        assert (filled, there) == (row + [0] * rest, [1] * len(row) + [0] * rest)


def test_rows_of_several_lengths_without_pad_are_refused():
    with pytest.raises(DataError, match=r"instance 8: 'ids' has the shape \(1,\), and instance 7 has") as refusal:
        made([IDS], {}, {"ids": [[1, 2], [3]]}, kind="instance", first=7)
    assert "pad=0" in refusal.value.hint
    assert made([IDS], {}, {"ids": [[1, 2], [3, 4]]})["ids"].tolist() == [[1, 2], [3, 4]]


def test_rows_are_filled_up_to_a_fixed_size_and_longer_ones_refused():
    fixed = Port("ids", "int64", ("batch", 3))
    declared = {"ids": InputProcessing(pad=9)}
    assert made([fixed], declared, {"ids": [[1], [1, 2, 3]]})["ids"].tolist() == [[1, 9, 9], [1, 2, 3]]
    with pytest.raises(DataError, match="row 1: 'ids' has 4 values, and the model takes 3"):
        made([fixed], declared, {"ids": [[1], [1, 2, 3, 4]]})


def test_one_name_of_a_dimension_is_one_size():
    other = Port("other", "int64", ("batch", "length"))
    columns = {"ids": [[1, 2]], "other": [[1, 2, 3]]}
    with pytest.raises(DataError, match="'other' has 3 values in the dimension 'length', 'ids' 2"):
        made([IDS, other], {}, columns)
    padded = made([IDS, other], dict.fromkeys(["ids", "other"], InputProcessing(pad=0)), columns)
    assert padded["ids"].tolist() == [[1, 2, 0]]


def test_categories_have_an_unknown_and_a_missing_cell_is_one():
    part = InputProcessing.learned_categories({"port": ["b", "a", None, "b"], "deck": np.array([2.0, np.nan, 1.0])})
    assert (part.categories, part.sizes) == ({"port": ["a", "b"], "deck": [1, 2]}, [3, 3])
    columns = {"port": ["b", "never", None], "deck": [1, 7, None]}
    assert made([KINDS], {"kinds": part}, columns)["kinds"].tolist() == [[2, 1], [0, 0], [0, 0]]
    with pytest.raises(DataError, match=r"row 1: 'port' is a list, and no category"):
        made([KINDS], {"kinds": part}, {"port": ["b", ["a"]], "deck": [1, 1]})


def test_numbers_are_standardised_and_a_missing_one_is_the_mean():
    part = InputProcessing.learned_numbers({"miles": [0.0, 10.0, None], "hour": np.array([3, 3, 3])})
    assert part.numbers["miles"] == Scale(mean=5.0, deviation=5.0)
    arrays = made([TABLE], {"numbers": part}, {"miles": [10, None], "hour": np.array([3, 4])})
    assert arrays["numbers"].tolist() == [[1, 0], [0, 1]]
    for cell, problem in (("7", "is text"), (True, "is true or false"), ([1], "is a list"), (np.inf, "holds inf")):
        with pytest.raises(DataError, match=f"row 0: 'hour' {problem}"):
            made([TABLE], {"numbers": part}, {"miles": [1], "hour": [cell]})


def test_plain_columns_are_stacked_and_a_missing_cell_is_refused():
    plain = {"numbers": InputProcessing(columns=["a", "b"])}
    assert made([TABLE], plain, {"a": [1, 2], "b": [3, 4]})["numbers"].tolist() == [[1, 3], [2, 4]]
    with pytest.raises(DataError, match="row 1: 'b' is missing"):
        made([TABLE], plain, {"a": [1, 2], "b": [3, None]})


@pytest.mark.parametrize(
    ("port", "cell", "problem"),
    [
        (TABLE, [1.0], r"has the shape \(1,\), and the model takes \(2,\)"),
        (TABLE, [1.0, "2"], "holds text, and the model takes float32"),
        (TABLE, [1.0, None], "holds null"),
        (TABLE, [1.0, True], "holds true or false"),
        (TABLE, [[1.0], [2.0, 3.0]], "is ragged"),
        (TABLE, [1.0, 1e300], r"holds 1e\+300, which is no float32"),
        (TABLE, 3, r"has the shape \(\)"),
        (IDS, [1, 2.5], "holds a number with a fraction, and the model takes int64"),
        (IDS, [1, 2**70], "more than 64 bits"),
        (Port("ids", "int32", ("batch", 1)), [2**40], "which is no int32"),
        (Port("ids", "bool", ("batch", 1)), [2], "which is no bool"),
        (Port("ids", "int64", ("batch",)), "7", "is text"),
    ],
)
def test_a_value_that_does_not_fit_is_named(port, cell, problem):
    with pytest.raises(DataError, match=f"row 0: '{port.name}' .*{problem}"):
        made([port], {}, {port.name: [cell]})


def test_arrays_and_lists_of_the_same_rows_are_the_same_inputs():
    array = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    columns = [{"numbers": form} for form in (array, array.tolist(), list(array), array.astype(np.float64))]
    first, *others = [made([TABLE], {}, column)["numbers"] for column in columns]
    assert all(np.array_equal(first, other) and other.dtype == np.float32 for other in others)


def test_pixels_have_a_range():
    port = Port("image", "float32", ("batch", 1, 2, 2))
    declared = {"image": InputProcessing(pixels=Pixels.BYTES)}
    values = np.arange(4, dtype=np.uint8).reshape(1, 1, 2, 2)
    assert np.array_equal(*(made([port], declared, {"image": form})["image"] for form in (values, values.tolist())))
    with pytest.raises(DataError, match="row 0: 'image' holds 256"):
        made([port], declared, {"image": [[[[256, 0], [0, 0]]]]})


def test_rows_without_columns_are_the_only_column():
    single = Signature((IDS,), ())
    declared = {"ids": InputProcessing(columns=["words"], pad=0)}
    assert needed(single, declared) == ["words"]
    assert columns_of([[1]], single, declared) == {"words": [[1]]}
    with pytest.raises(DataError, match="no column words"):
        columns_of({"word": [[1]]}, single, declared)
    with pytest.raises(DataError, match="takes the columns ids, numbers"):
        columns_of([[1]], Signature((IDS, TABLE), ()), {})


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"id": InputProcessing(pad=0)}, "'id' is no input of the model"),
        ({"mask": InputProcessing(mask="idz")}, "mask of 'idz'"),
        ({"mask": InputProcessing(mask="mask")}, "mask of 'mask'"),
        (
            {"numbers": InputProcessing(numbers={"a": Scale(mean=0, deviation=1)})},
            "made of 1 columns",
        ),
        ({"numbers": InputProcessing(tokenizer={"model": {}}, length=3)}, "up to 3 tokens, the model takes 2"),
    ],
)
def test_what_does_not_go_with_the_graph_is_refused(declared, message):
    with pytest.raises(ConfigError, match=message):
        check(Signature((IDS, MASK, TABLE), ()), declared)


def tokenizer():
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[PAD]": 0, "[UNK]": 1, "well": 2, "made": 3}, "[UNK]"))
    made.normalizer = tokenizers.normalizers.Lowercase()
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    return made


def test_texts_become_the_librarys_own_token_numbers():
    theirs = tokenizer()
    declared = {
        "ids": InputProcessing.tokens(theirs, length=3, columns=["text"]),
        "mask": InputProcessing(mask="ids"),
    }
    texts = ["Well made", "well", None, "made well made well"]
    arrays = made([IDS, MASK], declared, {"text": texts})
    assert arrays["ids"].tolist() == [[2, 3, 0], [2, 0, 0], [0, 0, 0], [3, 2, 3]]
    assert arrays["mask"].sum(1).tolist() == [2, 1, 0, 3]
    assert arrays["ids"][0, :2].tolist() == theirs.encode("Well made").ids
    with pytest.raises(DataError, match="row 0: 'text' is a number, and no text"):
        made([IDS, MASK], declared, {"text": [3]})


def test_a_tokenizer_that_is_none_is_refused():
    pytest.importorskip("tokenizers")
    with pytest.raises(ConfigError, match="the tokenizer cannot be read"):
        made([IDS], {"ids": InputProcessing(tokenizer={"model": 3}, length=3)}, {"ids": ["a"]})
