"""Planted causes are named first, and a change is split into rows that are others and rows that mean another thing."""

import numpy as np
import pytest

from airloom.monitoring.drift import compare
from airloom.monitoring.drift_reference import count, reference_of
from airloom.monitoring.root_cause import rank_features, rank_slices, split_change
from airloom.monitoring.two_sample import Discriminator, matrix, two_sample_test
from airloom.quality.answer_importance import answer_importance

FEATURES = [f"x{place}" for place in range(7)] + ["city"]


def drawn(generator, rows):
    numbers = {name: generator.normal(size=rows) for name in FEATURES[:-1]}
    numbers["x1"] = 0.6 * numbers["x0"] + 0.8 * numbers["x1"]  # features go together
    return numbers | {"city": generator.choice(["oslo", "bergen", "bodø"], rows, p=[0.5, 0.3, 0.2])}


def listed(columns):
    return {name: values.tolist() for name, values in columns.items()}


def spoilt(columns, name, generator):
    """A feature that moved by half a deviation, or a category that is more frequent; others as they were."""
    if name == "city":
        return columns | {name: generator.choice(["oslo", "bergen", "bodø"], len(columns[name]), p=[0.25, 0.3, 0.45])}
    return columns | {name: columns[name] + 0.5}


def test_a_planted_fault_of_one_feature_is_named_first_in_19_of_20():
    first = 0
    for seed in range(20):
        generator = np.random.default_rng(seed)
        name = FEATURES[seed % len(FEATURES)]
        before, test = listed(drawn(generator, 1500)), drawn(generator, 800)
        after = listed(spoilt(drawn(generator, 600), name, generator))
        references = [reference_of(one, values) for one, values in before.items()]
        psi = {one.name: one.psi for one in compare(references, {r.name: count(r, after[r.name]) for r in references})}
        found = two_sample_test(matrix(references, before), matrix(references, after), seed)
        answers = np.where(test["x0"] + 0.5 * test["x2"] > 0, "yes", "no").tolist()  # of five features it knows nothing
        importance = answer_importance(matrix(references, listed(test)), answers, False)
        first += rank_features(psi, found.importance, importance)[0].name == name
    print(f"named first in {first} of 20")
    assert first >= 19


def test_of_two_that_moved_alike_the_one_that_answers_hang_on_is_first():
    ranked = rank_features({"a": 0.3, "b": 0.3, "c": 0.01}, {"a": 0.1, "b": 0.1}, {"a": 0.02, "b": 0.3, "c": 0.5})
    assert [one.name for one in ranked] == ["b", "a", "c"]
    assert sum(one.weight for one in ranked) == pytest.approx(1)
    assert rank_features({"a": 0.3}, {"a": 0.0}, {})[0].answers == -1.0


def test_a_planted_fault_of_one_slice_is_named_first_in_19_of_20():
    """Among slices that overlap, one of all rows, and one that holds the planted one."""
    first = 0
    for seed in range(20):
        generator = np.random.default_rng(seed)
        sides = []
        for rows in (1000, 600):
            city, hour = generator.integers(0, 6, rows), generator.integers(0, 24, rows)
            masks = {f"city {place}": city == place for place in range(6)}
            masks |= {"night": hour < 6, "day": hour >= 6, "all": hour >= 0, "north": city < 3}
            sides.append((masks, generator.random(rows) < 0.1))
        name = [*(f"city {place}" for place in range(6)), "night"][seed % 7]
        masks, lost = sides[1]
        lost = lost | (masks[name] & (generator.random(600) < 0.3))
        ranked = rank_slices(sides[0][1].astype(float), lost.astype(float), sides[0][0], masks)
        first += ranked[0].name == name
    print(f"named first in {first} of 20")
    assert first >= 19


def test_a_slice_without_rows_is_left_out_and_parts_of_a_whole_add_up():
    before, after = np.array([0.0, 1, 0, 0]), np.array([1.0, 1, 0, 1])
    left = np.array([True, True, False, False])
    found = {one.name: one for one in rank_slices(
        before, after, {"a": left, "b": ~left, "c": left}, {"a": left, "b": ~left, "c": left & ~left}
    )}  # fmt: skip
    assert set(found) == {"a", "b"}
    assert found["a"].part + found["b"].part == pytest.approx(after.mean() - before.mean())


def split(seed, shift, worse):
    """Where x is large, answers are wrong more often; `shift` moves x, `worse` is added to each chance."""
    generator = np.random.default_rng(seed)
    before, after = generator.normal(size=3000), generator.normal(shift, 1, 2000)
    references = [reference_of("x", before)]
    wrong = [
        generator.random(len(x)) < np.clip(0.2 + 0.1 * x + more, 0, 1) for x, more in ((before, 0), (after, worse))
    ]
    weights = Discriminator(
        matrix(references, {"x": before.tolist()}), matrix(references, {"x": after.tolist()})
    ).weights()
    return split_change(wrong[0].astype(float), wrong[1].astype(float), weights)


def test_other_rows_and_another_concept_are_told_apart():
    rows, concept = split(0, 0.8, 0.0), split(1, 0.0, 0.1)
    assert rows.covariate == pytest.approx(0.08, abs=0.03)
    assert rows.concept_interval[0] < 0.01 < 0.04
    assert abs(rows.concept) < rows.covariate / 2
    assert concept.concept == pytest.approx(0.1, abs=0.03)
    assert concept.covariate_interval[0] < 0 < concept.covariate_interval[1] or abs(concept.covariate) < 0.01
    for one in (rows, concept):
        assert one.covariate + one.concept == pytest.approx(one.after - one.before)


def test_where_no_test_row_is_as_the_window_nothing_is_split():
    found = split(2, 8.0, 0.0)
    assert "too few are as the window's" in found.says or found.effective >= 50
    few = split_change(np.zeros(200), np.ones(200), np.r_[np.full(5, 20.0), np.full(195, 1e-9)])
    assert few.says == "of the test rows too few are as the window's: they are worth 5 rows"
