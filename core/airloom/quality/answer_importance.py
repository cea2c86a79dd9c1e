"""How much a version's answers hang on each feature, without asking the version itself.

A small model learns the version's answers to half of its test rows; a feature matters as much as that model gets worse
at the other half when the feature's values change places. Asking the version would need its graph or its code, and
rows as it takes them, of which a profile has only some.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from airloom.monitoring.two_sample import Matrix, one_thread, sample

LEAST_ROWS = 100
MOST_CLASSES = 10  # the others are one
Array = np.ndarray[Any, Any]


def answer_importance(rows: Matrix, answers: Sequence[Any], numbers: bool, seed: int = 0) -> dict[str, float]:
    """The importance of each feature, never below 0; {} where it cannot be told.

    Args:
        rows: of the test split.
        answers: of the version to each.
        numbers: whether they are numbers; else classes.
        seed: of halves and shuffles.
    """
    chosen = sample(len(rows.cells))
    cells, said = rows.cells[chosen], _coded([answers[place] for place in chosen.tolist()], numbers)
    if len(cells) < LEAST_ROWS or not rows.names or len(np.unique(said)) < 2:
        return {}
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(cells))
    learned, held = order[: len(order) // 2], order[len(order) // 2 :]
    if len(np.unique(said[learned])) < 2:
        return {}
    importance = dict[str, float]()
    with one_thread():
        model = _model(numbers, rows.categories).fit(cells[learned], said[learned])
        whole = model.score(cells[held], said[held])
        for place, name in enumerate(rows.names):
            shuffled = cells[held].copy()
            shuffled[:, place] = generator.permutation(shuffled[:, place])
            importance[name] = max(0.0, float(whole - model.score(shuffled, said[held])))
    return importance


def _model(numbers: bool, categories: Sequence[bool]) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    kind = HistGradientBoostingRegressor if numbers else HistGradientBoostingClassifier
    return kind(
        max_iter=30, max_leaf_nodes=15, categorical_features=list(categories), early_stopping=False, random_state=0
    )


def _coded(answers: Sequence[Any], numbers: bool) -> Array:
    if numbers:
        return np.array(answers, np.float64)
    common = [name for name, _ in Counter(answers).most_common(MOST_CLASSES)]
    places = {name: place for place, name in enumerate(common)}
    return np.array([places.get(name, len(common)) for name in answers], np.int64)
