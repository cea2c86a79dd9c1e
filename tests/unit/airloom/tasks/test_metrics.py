import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss, recall_score

from airloom.errors import GateError
from airloom.tasks.metrics import classification, confusion


@pytest.mark.parametrize("scale", [0.1, 1, 3])
def test_metrics_are_those_of_sklearn(scale):
    generator = np.random.default_rng(0)
    scores, labels = generator.normal(0, scale, (500, 7)), generator.integers(0, 7, 500)
    predicted = scores.argmax(axis=1)
    probability = np.exp(scores - scores.max(axis=1, keepdims=True))
    probability /= probability.sum(axis=1, keepdims=True)
    found = classification(scores, labels)
    assert found["accuracy"] == pytest.approx(accuracy_score(labels, predicted))
    assert found["log_loss"] == pytest.approx(log_loss(labels, probability, labels=range(7)), rel=1e-6)
    recalls = recall_score(labels, predicted, average=None)
    assert [found[f"recall_{label}"] for label in range(7)] == pytest.approx(list(recalls))
    assert (confusion(predicted, labels, 7) == confusion_matrix(labels, predicted)).all()


def test_large_logits_do_not_overflow():
    assert classification(np.array([[1e4, 0.0]], np.float32), np.array([1]))["log_loss"] == pytest.approx(1e4)


@pytest.mark.parametrize(
    ("scores", "labels"),
    [
        (np.zeros((0, 3)), np.zeros(0, int)),
        (np.zeros((2, 3)), np.zeros(3, int)),
        (np.zeros(3), np.zeros(3, int)),
        (np.array([[0, np.nan]]), np.zeros(1, int)),
        (np.array([[0, np.inf]]), np.zeros(1, int)),
        (np.zeros((2, 3)), np.array([0, 3])),
        (np.zeros((2, 3)), np.array([0, -1])),
    ],
)
def test_what_cannot_be_evaluated_is_a_gate_error(scores, labels):
    with pytest.raises(GateError):
        classification(scores, labels)
