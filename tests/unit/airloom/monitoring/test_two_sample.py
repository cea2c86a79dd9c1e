"""All features together: what no feature shows alone is found, and without a shift nothing is."""

import numpy as np
import pytest

from airloom.monitoring import two_sample
from airloom.monitoring.drift_reference import reference_of
from airloom.monitoring.two_sample import Discriminator, auc_of, matrix, sample, two_sample_test


def drawn(generator, rows):
    numbers = {f"x{place}": generator.normal(size=rows).tolist() for place in range(4)}
    return numbers | {"city": generator.choice(["oslo", "bergen", "bodø"], rows, p=[0.5, 0.3, 0.2]).tolist()}


def both(before, after):
    references = [reference_of(name, values) for name, values in before.items()]
    return matrix(references, before), matrix(references, after)


def test_without_a_shift_nothing_is_found():
    ps = []
    for seed in range(20):
        generator = np.random.default_rng(seed)
        found = two_sample_test(*both(drawn(generator, 400), drawn(generator, 300)), seed)
        assert not found.differ
        ps.append(found.p)
    assert np.mean(np.array(ps) < 0.05) <= 0.2


def test_features_that_go_together_in_another_way_are_found_and_named():
    generator = np.random.default_rng(0)
    before, after = drawn(generator, 1500), drawn(generator, 1500)
    after["x1"] = (0.8 * np.array(after["x0"]) + 0.6 * generator.normal(size=1500)).tolist()  # each alone is as before
    found = two_sample_test(*both(before, after))
    assert found.differ
    assert found.low > 0.6
    assert set(list(found.importance)[:2]) == {"x0", "x1"}
    assert found == two_sample_test(*both(before, after))  # the same rows and seed


def test_gaps_new_categories_and_what_is_no_number_are_looked_at():
    generator = np.random.default_rng(1)
    before, after = drawn(generator, 300), drawn(generator, 300)
    after["x2"] = [None] * 100 + ["two"] * 50 + [float("inf")] + after["x2"][151:]
    after["city"] = after["city"][:200] + ["tromsø"] * 100
    found = two_sample_test(*both(before, after))
    assert found.differ
    assert set(list(found.importance)[:2]) == {"city", "x2"}


@pytest.mark.parametrize(
    ("rows", "says"), [((300, 10), "10 rows of the window"), ((10, 300), "10 rows of the training")]
)
def test_too_few_rows_say_nothing(rows, says):
    generator = np.random.default_rng(0)
    assert says in two_sample_test(*both(drawn(generator, rows[0]), drawn(generator, rows[1]))).says
    assert "no feature" in two_sample_test(matrix([], {}), matrix([], {})).says


def test_rows_are_bounded_and_the_same_each_time():
    chosen = sample(1_000_000)
    assert len(chosen) == two_sample.MOST_ROWS
    assert (np.diff(chosen) > 0).all()
    assert (chosen == sample(1_000_000)).all()
    assert sample(3).tolist() == [0, 1, 2]


def test_the_auc_is_that_of_scikit_learn():
    from sklearn.metrics import roc_auc_score

    generator = np.random.default_rng(0)
    before, after = generator.integers(0, 9, 60) / 9, generator.integers(2, 11, 40) / 9
    truth = np.repeat([0, 1], [60, 40])
    assert auc_of(before, after)[0] == pytest.approx(roc_auc_score(truth, np.concatenate([before, after])))


def test_weights_make_the_reference_like_the_window():
    generator = np.random.default_rng(0)
    before = {"x": generator.normal(size=4000).tolist()}
    after = {"x": generator.normal(0.7, 1, 4000).tolist()}
    weights = Discriminator(*both(before, after)).weights()
    assert np.average(before["x"], weights=weights) == pytest.approx(0.7, abs=0.12)
