"""What goes before and after a model's graph."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airloom.errors import ConfigError, CorruptFile, DataError
from airloom.pictures import Picture
from airloom.processing import LARGEST, Processing, Tokenise, not_finite, parse


def test_a_vocabulary_is_learned_from_the_most_frequent_tokens():
    made = Tokenise.learn(["Well made!", "well done", "broke"], size=2, length=4)
    assert made.vocabulary == ["well", "!"]
    assert made(["Well, well!", "", "new words, all of them and more"]).tolist() == [
        [2, 1, 2, 3],
        [0, 0, 0, 0],
        [1, 1, 1, 1],
    ]
    assert made.size == 4


@given(st.lists(st.text(max_size=30), min_size=1, max_size=5))
def test_any_text_becomes_numbers_of_the_vocabulary(texts):
    made = Tokenise(vocabulary=["a", "b"], length=6)
    numbers = made(texts)
    assert numbers.shape == (len(texts), 6)
    assert numbers.dtype == np.int64
    assert 0 <= numbers.min() <= numbers.max() < made.size


def test_it_comes_back_from_its_file_the_same():
    declared = Processing(tokenise=Tokenise(vocabulary=["ä", "b"], length=3), labels=["bad", "good"], threshold=0.7)
    assert parse(declared.model_dump_json().encode()) == declared


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{",
        b'{"code": "import os"}',
        b'{"threshold": 2}',
        b'{"tokenise": {"vocabulary": ["a", "a"], "length": 1}}',
    ],
)
def test_what_is_no_processing_is_refused(data):
    with pytest.raises(CorruptFile):
        parse(data)


def test_a_threshold_moves_the_decision_of_a_single_output():
    logits = np.array([[-1.0], [0.5], [2.0]], np.float32)
    for threshold, expected in ((0.5, [0, 1, 1]), (0.8, [0, 0, 1]), (0.1, [1, 1, 1])):
        scores = Processing(threshold=threshold).scores(logits)
        assert scores.argmax(axis=1).tolist() == expected


def test_tables_are_stacked_in_the_declared_order_and_images_scaled():
    table = {"a": np.array([1, 2]), "name": ["x", "y"], "b": np.array([0.5, 1.5])}
    assert Processing().single(table).tolist() == [[1, 0.5], [2, 1.5]]
    assert Processing(columns=["b", "a"]).single(table).tolist() == [[0.5, 1], [1.5, 2]]
    image = np.full((1, 1, 2, 2), 255, np.uint8)
    assert Processing().single(image).dtype == np.float32
    assert Processing().single(image).max() == 1


@pytest.mark.parametrize(
    ("declared", "raw"),
    [
        (Processing(tokenise=Tokenise(vocabulary=["a"], length=2)), np.zeros((2, 3))),
        (Processing(tokenise=Tokenise(vocabulary=["a"], length=2)), ["a", 7]),
        (Processing(), ["a", "b"]),
        (Processing(columns=["gone"]), {"a": np.zeros(2)}),
        (Processing(), {"name": ["x", "y"]}),
    ],
)
def test_instances_of_another_kind_are_named(declared, raw):
    with pytest.raises(DataError):
        declared.single(raw)


def test_names_take_the_place_of_numbers():
    assert Processing(labels=["no", "yes"]).names([1, 0, 2]) == ["yes", "no", 2]
    assert Processing().names([1]) == [1]


def test_what_is_no_finite_answer_is_told_by_row():
    nan, infinite = float("nan"), float("inf")
    scores = np.array([[1, 2], [nan, 2], [-infinite, 0], [infinite, 0], [-infinite, -infinite]], np.float32)
    assert not_finite(scores).tolist() == [1, 3, 4]
    assert not_finite(np.array([1, nan, -infinite, infinite, 0])).tolist() == [1, 2, 3]
    assert not_finite(np.arange(4).reshape(2, 2)).tolist() == []


@given(st.lists(st.floats(-1e30, 1e30), min_size=2, max_size=5))
def test_probabilities_are_between_0_and_1_and_sum_to_1(logits):
    made = Processing().probabilities(np.array([logits], np.float32))
    assert ((made >= 0) & (made <= 1)).all()
    assert made.sum() == pytest.approx(1)
    assert made[0, np.array(logits, np.float32).argmax()] == made.max()  # logits that hardly differ are as probable


def test_a_file_larger_than_any_model_needs_is_refused_unread():
    with pytest.raises(CorruptFile, match="bytes, at most"):
        parse(b" " * (LARGEST + 1))


def test_names_that_each_answer_would_repeat_have_a_limit():
    with pytest.raises(CorruptFile, match="at most 1000"):
        parse(json.dumps({"labels": ["x" * 1001]}).encode())


def test_a_model_keeps_the_labels_of_its_classes_and_answers_with_them_or_with_words_for_them():
    kept = Processing().of_classes([7, 30, "x", True])
    assert (kept.classes, kept.names([1, 0, 3, 4])) == ([7, 30, "x", True], [30, 7, True, "(output 4)"])
    assert kept.class_names(5) == ["7", "30", "x", "true", "(output 4)"]
    assert parse(kept.model_dump_json().encode()) == kept
    words = Processing(labels=["bad", "good"]).of_classes([0, 1])
    assert (words.names([1, 0]), words.class_names(2)) == (["good", "bad"], ["0", "1"])
    same = Processing(labels=["cat", "dog"]).of_classes(["cat", "dog"])
    assert (same.labels, same.classes) == ([], ["cat", "dog"])
    own = Processing(classes=["dog", "cat"])
    assert own.of_classes(["cat", "dog"]) is own
    assert Processing().class_names(3) == ["0", "1", "2"]  # of earlier releases


@pytest.mark.parametrize("labels", [["dog", "cat"], ["cat", "cow"], ["a"], ["a", "b", "c"]])
def test_words_that_are_not_one_for_each_class_are_refused(labels):
    with pytest.raises(ConfigError, match="the data have 2: 'cat', 'dog'") as caught:
        Processing(labels=labels).of_classes(["cat", "dog"])
    assert "run.classes" in caught.value.hint


def test_what_cannot_be_classes_is_refused():
    with pytest.raises(ConfigError, match="names of up to 1001 characters"):
        Processing().of_classes(["x" * 1001])
    with pytest.raises(ValueError, match="stands twice"):
        Processing(classes=["1", 1])


@pytest.mark.parametrize(
    ("processing", "message"),
    [
        (Processing(tokenise=Tokenise(vocabulary=["a"], length=2)), "takes texts, and these rows"),
        (Processing(picture=Picture(height=8, width=8)), "takes picture files, and these rows"),
    ],
)
def test_a_table_for_a_model_of_something_else_is_told_by_its_columns(processing, message):
    with pytest.raises(DataError, match=f"{message} have the columns 'x', 'y'"):
        processing.single({"x": np.zeros(2), "y": np.zeros(2)})
