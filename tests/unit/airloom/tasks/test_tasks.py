"""Each task by itself: which labels it takes, what it keeps and measures, what it answers; no graph, no MLflow."""

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import f1_score, hamming_loss, r2_score

from airloom import tasks
from airloom.errors import ConfigError, GateError
from airloom.evaluation import own, predictions
from airloom.evaluation.inference import _Kept
from airloom.evaluation.predictions import by_name
from airloom.processing import Processing
from airloom.spec.tasks import METRICS
from airloom.tasks.base import Asked
from airloom.tasks.rows import Answered

TEXT, WHOLE, FLOAT = pa.large_string(), pa.int64(), pa.float64()
NAMES, FLAGS, MASK = pa.large_list(TEXT), pa.list_(pa.int8(), 3), pa.list_(pa.list_(pa.uint8(), 4), 4)


def judged(task, outputs, labels, processing=None, inputs=None, parts=2):
    """All rows in parts, as the evaluation asks."""
    count = len(next(iter(outputs.values())))
    kept = _Kept("the model", task, processing or Processing(), labels, count)
    for at in np.array_split(np.arange(count), parts):
        rows = slice(int(at[0]), int(at[-1]) + 1)
        some = {name: cells[rows] for name, cells in (inputs or {}).items()}
        kept.add(rows, some, {name: cells[rows] for name, cells in outputs.items()}, keep=False)
    return kept.answers()


def read_back(rows, folder, **more):
    """As the gate has them."""
    predictions.write(rows, folder / "rows.parquet")
    return predictions.read(folder / "rows.parquet", with_champion=rows.champion is not None, task=rows.given, **more)


# -- labels


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("classification", [TEXT, WHOLE, pa.bool_()], [FLOAT, NAMES, FLAGS]),
        ("regression", [FLOAT, WHOLE, pa.list_(FLOAT, 2)], [TEXT, NAMES, pa.large_list(FLOAT)]),
        ("multilabel", [NAMES, FLAGS], [TEXT, WHOLE, FLOAT, MASK]),
        ("segmentation", [MASK, pa.list_(pa.uint8(), 16)], [TEXT, WHOLE, NAMES]),
        ("tokens", [NAMES, pa.large_list(WHOLE)], [TEXT, WHOLE, FLOAT]),
    ],
)
def test_labels_of_the_wrong_kind_are_refused_by_their_type(name, good, bad):
    task = tasks.of_name(name)
    for kind in good:
        task.check(pa.field("y", kind))
    for kind in bad:
        with pytest.raises(ConfigError, match=f"task {name} needs .*'y' is "):
            task.check(pa.field("y", kind))
    with pytest.raises(ConfigError, match="needs labels, and the dataset declares none"):
        task.check(None)


def test_tasks_without_labels_take_rows_without():
    for name in ("language_model", "embedding", "custom"):
        tasks.of_name(name).check(None)
        assert len(tasks.of_name(name).labels(None, 7)) == 7


def test_every_name_that_the_file_takes_is_a_task_with_these_metrics():
    assert set(METRICS) == set(tasks.OWN)
    for name, (means, wholes) in METRICS.items():
        task = tasks.of_name(name)
        assert set(task.means) <= set(means) and set(task.wholes) <= set(wholes)
        assert all(task.whole(metric) for metric in wholes), name
        assert not any(task.whole(metric) for metric in means), name


# -- several labels


def test_several_labels_are_compared_by_name(tmp_path):
    task, labels = tasks.Multilabel(), [["red"], ["red", "big"], [], ["new", "big"]]
    labels = task.labels([["red"], ["red", "big"], [], ["new", "big"]], 4)
    ours = np.array([[3, -3], [3, 3], [-3, -3], [-3, 3]], np.float32)
    one = judged(task, {"o": ours}, labels, Processing(classes=["red", "big"]))
    other = judged(task, {"o": ours[:, ::-1]}, labels, Processing(classes=["big", "red"]))
    rows = by_name(labels, one, other, None, task, also=("macro_f1", "auc"))
    for found in (rows, read_back(rows, tmp_path)):
        assert found.classes[:3] == ("big", "new", "red")
        assert found.merit(found.candidate, "exact_match").tolist() == [1, 1, 1, 0]
        assert (found.candidate.predicted == found.champion.predicted).all()
        measured = found.measured(found.candidate)
        truth, said = found.label.astype(int), found.candidate.predicted.astype(int)
        assert measured["label_accuracy"] == pytest.approx(1 - hamming_loss(truth, said))
        assert measured["macro_f1"] == pytest.approx(f1_score(truth, said, average="macro", zero_division=0))
        assert found.unknown() == {"candidate": {"new": 1}, "champion": {"new": 1}}
    answer = task.answer({"o": ours[:2]}, Processing(classes=["red", "big"]), {})
    assert [sorted(names) for names in answer] == [["red"], ["big", "red"]]
    assert task.answer({"o": ours[:1]}, Processing(classes=["red", "big"], threshold=0.99, task="multilabel"), {}) == [
        []
    ]


@pytest.mark.parametrize(
    ("stored", "says"),
    [
        (np.array([[0, 1], [2, 0]]), "label 0 of test row 1 is 2"),
        (["red", "big"], "the labels of test row 0 are 'red'"),
        ([["red"], None], "the labels of test row 1 are 'None'"),
    ],
)
def test_several_labels_of_another_form_name_the_row(stored, says):
    with pytest.raises(GateError, match=says):
        tasks.Multilabel().labels(stored, 2)


def test_a_model_of_another_number_of_labels_is_refused():
    with pytest.raises(GateError, match="answers with 2 labels; there are 3"):
        judged(tasks.Multilabel(), {"o": np.zeros((2, 2))}, np.zeros((2, 3), bool), parts=1)


# -- several numbers


def test_several_numbers(tmp_path):
    generator, task = np.random.default_rng(0), tasks.Regression()
    labels = task.labels(generator.normal(size=(50, 2)), 50)
    outputs = {"o": (labels + generator.normal(0, 0.3, (50, 2))).astype(np.float32)}
    rows = by_name(labels, judged(task, outputs, labels), None, None, task, also=task.wholes)
    for found in (rows, read_back(rows, tmp_path)):
        measured = found.measured(found.candidate)
        assert measured["r2"] == r2_score(labels, outputs["o"])
        assert measured["mse"] == pytest.approx(measured["rmse"] ** 2)
    assert task.answer({"o": np.ones((2, 2))}, Processing(), {}) == [[1, 1], [1, 1]]
    assert task.answer({"o": np.ones((2, 1))}, Processing(), {}) == [1, 1]
    with pytest.raises(GateError, match="shape \\(25, 3\\), are not 2 numbers of each row"):
        judged(task, {"o": np.zeros((50, 3))}, labels)


# -- masks


def test_masks_are_kept_as_counts_and_compared_by_name(tmp_path):
    generator, task = np.random.default_rng(0), tasks.Segmentation()
    masks = task.labels(generator.choice([5, 7, 255], (6, 4, 4)).astype(np.uint8), 6)
    scores = generator.normal(size=(6, 2, 4, 4)).astype(np.float32)
    one = judged(task, {"o": scores}, masks, Processing(classes=[5, 7]))
    other = judged(task, {"o": scores[:, ::-1]}, masks, Processing(classes=[7, 5]))
    rows = by_name(masks, one, other, None, task, also=("mean_iou",))
    said = np.array([5, 7])[scores.argmax(axis=1)]
    for found in (rows, read_back(rows, tmp_path)):
        assert found.label.sum() == (masks != 255).sum()
        assert (found.candidate.predicted == found.champion.predicted).all()
        right = [((said == masks) & (masks != 255))[row].sum() / (masks != 255)[row].sum() for row in range(6)]
        assert found.merit(found.candidate, "pixel_accuracy") == pytest.approx(right)
        assert {"iou_5", "iou_7", "mean_iou"} <= set(found.measured(found.candidate))
    assert (np.array(task.answer({"o": scores}, Processing(classes=[5, 7]), {})) == said).all()
    assert np.shape(task.answer({"o": scores}, Processing(), {})) == (6, 4, 4)


def test_a_mask_of_another_size_or_with_a_class_without_a_channel_is_refused():
    task = tasks.Segmentation()
    with pytest.raises(GateError, match="answers with shape \\(2, 8, 8\\), and the mask of row 0 has 4 x 4 pixels"):
        judged(task, {"o": np.zeros((2, 2, 8, 8))}, np.zeros((2, 4, 4), int), parts=1)
    masks = np.zeros((2, 4, 4), int)
    masks[1, 0, 0] = 9
    with pytest.raises(GateError, match="the mask of row 1 has the class 9, and the model has 2: 0, 1"):
        judged(task, {"o": np.zeros((2, 2, 4, 4))}, masks)
    with pytest.raises(GateError, match="the masks of the test split have no common height and width"):
        judged(task, {"o": np.zeros((2, 2, 4, 4))}, task.labels([[[1, 2]], [[1], [2]]], 2))
    with pytest.raises(GateError, match="not whole numbers of one height and width"):
        task.labels(np.zeros((2, 4, 4)), 2)


# -- tokens, language models, embeddings


def test_tokens(tmp_path):
    task = tasks.Tokens()
    labels = task.labels([[0, 1, -100], [1]], 2)
    scores = np.full((2, 4, 2), -5, np.float32)
    scores[0, 0, 0] = scores[0, 1, 0] = scores[1, 0, 1] = 5
    rows = by_name(labels, judged(task, {"o": scores}, labels), None, None, task, also=("macro_f1",))
    for found in (rows, read_back(rows, tmp_path)):
        assert found.merit(found.candidate, "token_accuracy").tolist() == [0.5, 1]
        assert found.measured(found.candidate)["macro_f1"] == pytest.approx(
            f1_score([0, 1, 1], [0, 0, 1], average="macro")
        )
    assert task.answer({"o": scores}, Processing(classes=["A", "B"]), {})[1] == ["B", "A", "A", "A"]
    with pytest.raises(GateError, match="row 0 has 5 labels, and the model answers 4 tokens"):
        judged(task, {"o": scores[:1]}, [["0"] * 5], parts=1)


def test_a_language_model_counts_no_padding(tmp_path):
    task, tokens = tasks.LanguageModel(), np.array([[2, 3, 4, 0], [3, 2, 0, 0]])
    chances = np.full((2, 4, 5), 0.1)
    chances[0, 0, 3] = chances[0, 1, 4] = chances[1, 0, 2] = 0.6
    outputs = {"o": np.log(chances).astype(np.float32)}
    labels = task.labels(None, 2)
    rows = by_name(labels, judged(task, outputs, labels, inputs={"x": tokens}), None, None, task, also=task.wholes)
    for found in (rows, read_back(rows, tmp_path)):
        measured = found.measured(found.candidate)
        assert measured["log_loss"] == pytest.approx(-np.log(0.6), rel=1e-5)
        assert measured["perplexity"] == pytest.approx(1 / 0.6, rel=1e-5)
    outputs["o"][0, 2, 1] = outputs["o"][1, 1, 4] = 1
    assert task.answer(outputs, Processing(), {"x": tokens}) == [1, 4]
    with pytest.raises(GateError, match="token 1 of row 0 is 9"):
        judged(task, outputs, labels, inputs={"x": np.array([[2, 9, 0, 0], [2, 2, 0, 0]])})


def test_embeddings_are_good_where_the_nearest_is_alike(tmp_path):
    task, vectors = tasks.Embedding(), np.array([[1, 0.1], [1, 0], [0, 1], [0.1, 1], [1, 0.5]], np.float32)
    labels = task.labels(["a", "a", "b", "b", "c"], 5)
    rows = by_name(labels, judged(task, {"o": vectors}, labels), None, None, task)
    for found in (rows, read_back(rows, tmp_path)):
        assert found.merit(found.candidate, "nearest_is_same").tolist() == [1, 1, 1, 1, 0]
    assert "vector" not in rows.candidate.kept
    nothing = task.labels(None, 5)
    with pytest.raises(GateError, match="a vector alone, and the rows have no labels"):
        judged(task, {"o": vectors}, nothing)
    told = judged(task, {"o": vectors, "loss": np.arange(5.0)}, nothing)
    rows = by_name(nothing, told, None, None, task)
    assert rows.measured(rows.candidate) == {"log_loss": 2}
    assert np.allclose(task.answer({"o": vectors}, Processing(), {})[1], [1, 0])


# -- of one's own

OWN = """
import numpy as np
from airloom.tasks import Multilabel, Task

class Near(Task):
    def merits(self, outputs, labels):
        return {"near": np.abs(outputs["o"][:, 0] - labels) < 0.5}

class Wrong(Task):
    def merits(self, outputs, labels):
        return {"near": np.full(len(labels), np.nan)}

class Raises(Task):
    def merits(self, outputs, labels):
        return {"near": labels / outputs["nothing"]}

class Several(Multilabel):
    pass

class NoTask:
    pass
"""


@pytest.fixture
def project(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    return tmp_path


def test_a_task_of_ones_own_says_how_good_each_row_is(project):
    task = tasks.find("own.py:Near", project)
    labels = task.labels(np.arange(6.0), 6)
    outputs = {"o": np.array([0, 1, 2, 3, 9, 9])[:, None]}
    rows = by_name(labels, judged(task, outputs, labels), None, None, task)
    for found in (rows, read_back(rows, project)):
        assert found.measured(found.candidate) == {"near": pytest.approx(4 / 6)}
        assert found.merit(found.candidate, "near").tolist() == [1, 1, 1, 1, 0, 0]
    assert tasks.declared(task, Processing()).task == "custom"
    assert tasks.declared(tasks.find("own.py:Several", project), Processing()).task == "multilabel"
    assert task.answer({"a": np.ones((1, 2)), "b": np.zeros(1)}, Processing(), {}) == [{"a": [1, 1], "b": 0}]


@pytest.mark.parametrize(
    ("name", "says"),
    [("Wrong", "Wrong.merits: near is nan of row 0"), ("Raises", "Raises raised KeyError: 'nothing' .*own.py:15")],
)
def test_a_task_of_ones_own_that_is_wrong_says_so(project, name, says):
    with pytest.raises(GateError, match=says):
        judged(tasks.find(f"own.py:{name}", project), {"o": np.zeros((4, 1))}, np.zeros(4))


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("own.py:NoTask", "own.py:NoTask is no task"),
        ("own.py:Nobody", "task: own.py has no function 'Nobody'"),
        ("gone.py:A", "task: there is no file gone.py"),
    ],
)
def test_what_is_no_task_is_refused(project, reference, says):
    with pytest.raises(ConfigError, match=says):
        tasks.find(reference, project)


def metric(function):
    return own.OwnMetric("mine", "model.py:mine", function)


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda outputs, labels, rows: 1 / 0, "model.py:mine raised ZeroDivisionError: division by zero"),
        (lambda outputs, labels, rows: float("nan"), "returned nan for 3 rows"),
        (lambda outputs, labels, rows: np.array([0, np.inf, 1]), "returned inf for row 1"),
        (lambda outputs, labels, rows: np.zeros(2), "returned values of shape \\(2,\\) for 3 rows"),
        (lambda outputs, labels, rows: "good", "raised ValueError"),
        (lambda outputs: 1.0, "raised TypeError"),
    ],
)
def test_a_metric_of_ones_own_that_is_wrong_says_so(function, says):
    with pytest.raises(GateError, match=says):
        metric(function)({"o": np.zeros((3, 2))}, np.zeros(3, int), {})


def test_metrics_of_ones_own_for_each_row_and_of_all(tmp_path):
    task, labels = tasks.Classification(), ["a", "b", "b", "c"]
    outputs = {"o": np.array([[2, 0], [0, 2], [2, 0], [0, 1]], np.float32)}
    answers = judged(task, outputs, labels, Processing(classes=["a", "b"]))

    def each(outputs, labels, rows):
        return (outputs["o"].argmax(axis=1) == labels) * rows["weight"]

    def whole(outputs, labels, rows):
        return float(((labels == -1) * rows["weight"]).sum())

    functions = {"each": own.OwnMetric("each", "m.py:each", each), "whole": own.OwnMetric("whole", "m.py:whole", whole)}
    columns = {"weight": np.arange(4.0), "name": np.array(["x", "y", "z", ""])}
    more = own.kept(functions, outputs, task.trained(labels, answers), columns)
    answers = type(answers)(answers.predicted, answers.loss, answers.outputs, answers.known, more)
    rows = by_name(labels, answers, None, None, also=("whole",), own=functions)
    for found in (rows, read_back(rows, tmp_path, own=functions)):
        assert found.merit(found.candidate, "each").tolist() == [0, 1, 0, 0]
        measured = found.measured(found.candidate)
        assert (measured["each"], measured["whole"]) == (0.25, 3)
        assert found.whole("each") is None
        one = Answered(found.label, found.candidate, found.classes)
        assert found.whole("whole").weighted(one)(np.array([[1, 1, 0, 2], [4, 0, 0, 0]])).tolist() == [6, 0]


def test_a_metric_of_all_rows_has_to_fit_into_the_file(monkeypatch):
    monkeypatch.setattr(own, "LARGEST", 100)
    functions = {"mine": metric(lambda outputs, labels, rows: 1.0)}
    with pytest.raises(GateError, match="whose answers have 0 MB"):
        own.kept(functions, {"o": np.zeros((20, 2))}, np.zeros(20), {})
    with pytest.raises(GateError, match="whose labels have no common shape"):
        own.kept(functions, {"o": np.zeros((2, 2))}, [["a"], []], {})


def test_an_answer_that_is_none_names_its_rows():
    outputs = {"o": np.array([[0.0, np.nan], [0, 1], [np.inf, 0]])}
    for name in ("multilabel", "regression"):
        with pytest.raises(GateError, match="has no finite answer to 2 of 3 rows, among them 0, 2"):
            judged(tasks.of_name(name), outputs, np.zeros((3, 2)), parts=3)
    assert Asked("m", Processing()).first == 0


def test_masks_of_two_frames_are_no_pairs():
    task, generator = tasks.Segmentation(), np.random.default_rng(0)
    small, large = (
        judged(task, {"output": generator.normal(size=(4, 3, side, side))}, generator.integers(0, 3, (4, side, side)))
        for side in (4, 8)
    )
    assert task.incomparable(small, small) == ""
    assert task.incomparable(small, large) == "it was asked with 256 labelled pixels, and the candidate 64"
    assert tasks.Regression().incomparable(small, large) == ""
