"""From a request to its row of the log, by every door and way of computing."""

import json

import numpy as np
import pytest
from starlette.testclient import TestClient

from airloom.monitoring import prediction_query as query
from airloom.processing import Processing
from airloom.settings import load
from airloom.tracking.tags import Tag
from airloom_serving.api import build
from airloom_serving.metrics import Measured
from airloom_serving.served import ServedModel

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def client(server, make_session):
    """Models of three classes, of one number and of three labels, behind what gives each request its id."""
    server.reconciler.models = {
        "classes": ServedModel("classes", "7", make_session(), (3,), Processing(labels=["a", "b", "c"])),
        "numbers": ServedModel("numbers", "1", make_session(shape=()), ()),
        "labels": ServedModel(
            "labels", "2", make_session(), (3,), Processing(task="multilabel", classes=["x", "y", "z"])
        ),
    }
    return TestClient(Measured(build(server), server.metrics))


@pytest.fixture
def rows(server):
    """The rows of the log, once what was asked is written."""

    def written() -> list[dict]:
        server.log.start()
        server.log.stop()
        return [row.to_dict() for row in query.records(query.table(load()))]

    return written


@pytest.mark.parametrize("count", [1, 3, 100])
def test_a_row_has_role_score_and_best_classes_of_what_was_answered(client, rows, count):
    values = np.random.default_rng(count).normal(size=(count, 3)).astype(np.float32)
    body = {"model": "classes", "instances": values.tolist()}
    headers = {"X-Request-Id": "r1", "traceparent": TRACE}
    answer = client.post("/predict", json=body | {"top": 3}, headers=headers).json()
    found = {row["id"]: row for row in rows()}
    for identity, prediction, top in zip(answer["prediction_ids"], answer["predictions"], answer["top"], strict=True):
        row = found[identity]
        assert (row["prediction"], row["role"], row["rows"]) == (prediction, "champion", count)
        assert [best["class"] for best in row["top"]] == [best["class"] for best in top]
        assert [best["score"] for best in row["top"]] == pytest.approx([best["score"] for best in top])
        assert row["score"] == pytest.approx(top[0]["score"])
        assert (row["request"], row["trace"]) == ("r1", TRACE.split("-")[1])
        assert (row["inputs"], row["inputs_by"]) == (None, "drop")


def test_numbers_have_no_score_and_several_labels_no_one_score(client, rows):
    client.post("/predict", json={"model": "numbers", "instances": [1.5]}).raise_for_status()
    client.post("/predict", json={"model": "labels", "instances": [[3, -3, 1]]}).raise_for_status()
    number, labels = sorted(rows(), key=lambda row: row["model"], reverse=True)
    assert (number["value"], number["score"], number["top"]) == (1.5, None, [])
    assert (labels["prediction"], labels["score"]) == ("['x', 'z']", None)
    assert [best["class"] for best in labels["top"]] == ["x", "z", "y"]


@pytest.mark.parametrize("count", [2, 100])
def test_inputs_are_kept_as_the_version_says_and_no_others(server, client, rows, tmp_path, count):
    kept = server.reconciler.models["classes"].logged_by({Tag.LOG: '{"inputs": "full"}'}, tmp_path)
    assert kept is server.reconciler.models["classes"]
    values = [[float(place), 0.5, -1.0] for place in range(count)]
    client.post("/predict", json={"model": "classes", "instances": values}).raise_for_status()
    client.post("/predict", json={"model": "labels", "instances": values}).raise_for_status()
    found = rows()
    assert sorted(row["inputs"]["input"] for row in found if row["model"] == "classes") == values
    assert {row["inputs"] for row in found if row["model"] == "labels"} == {None}


def test_the_open_inference_protocol_is_logged_alike(server, client, rows, tmp_path):
    server.reconciler.models["classes"].logged_by({Tag.LOG: '{"inputs": "full"}'}, tmp_path)
    tensor = {"name": "input", "datatype": "FP32", "shape": [1, 3], "data": [1, 5, 2]}
    answer = client.post("/v2/models/classes/infer", json={"inputs": [tensor]}).json()
    (row,) = rows()
    assert row["id"] == answer["parameters"]["prediction_ids"][0]
    assert (row["prediction"], row["inputs"]) == ("b", {"input": [1.0, 5.0, 2.0]})


def test_a_key_that_is_damaged_costs_the_inputs_and_not_the_answers(server, client, rows, tmp_path, caplog):
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "prediction_log.key").write_text("nonsense")
    server.reconciler.models["classes"].logged_by({Tag.LOG: '{"inputs": "hash"}'}, tmp_path)
    client.post("/predict", json={"model": "classes", "instances": [[1, 2, 3]]}).raise_for_status()
    (row,) = rows()
    assert (row["prediction"], row["inputs"], row["inputs_by"]) == ("c", None, "failed")
    assert "is no key of the prediction log" in caplog.text


def test_metrics_tell_what_was_written_and_what_was_lost(server, client, rows):
    for place in range(3):
        client.post("/predict", json={"model": "numbers", "instances": [place]}).raise_for_status()
    assert len(rows()) == 3
    server.log._drop(2)
    text = client.get("/metrics").text
    assert "airloom_log_written_total 3.0" in text
    assert "airloom_log_dropped_total 2.0" in text
    assert json.loads(client.get("/status").text)["log_dropped"] == 2


@pytest.mark.parametrize("count", [1, 100])
def test_the_score_is_that_of_the_answered_class_also_where_another_is_more_probable(
    server, client, rows, make_session, count
):
    declared = Processing(threshold=0.7, labels=["no", "yes"])
    server.reconciler.models = {"rare": ServedModel("rare", "1", make_session(shape=()), (), declared)}
    answer = client.post("/predict", json={"model": "rare", "instances": [float(np.log(0.6 / 0.4))] * count}).json()
    assert set(answer["predictions"]) == {"no"}
    for row in rows():
        assert row["score"] == pytest.approx(0.4)
        assert [best["class"] for best in row["top"]] == ["yes", "no"]
