"""What clients of `mlflow models serve` send: its own client, frames in its forms, and what is none of them."""

import json
import math

import numpy as np
import pandas as pd  # noqa: TID253 - what people send are frames
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto
from served.problems import problem_of
from starlette.testclient import TestClient

from airloom.monitoring import prediction_id
from airloom.processing import Processing, Tokenise
from airloom_serving.api import build
from airloom_serving.frames import instances_of, of_csv
from airloom_serving.limits import MOST_INSTANCES
from airloom_serving.served import ServedModel


def sent(data, **params):
    """The body that MLflow's own `ScoringServerClient.invoke` makes."""
    from mlflow.utils.proto_json_utils import dump_input_data

    return dump_input_data(data, params=params or None)


@pytest.fixture
def client(server, make_session):
    table = Processing(columns=["a", "b", "c"], classes=["x", "y", "z"])
    texts = Processing(tokenise=Tokenise(vocabulary=["a", "b"], length=4))
    server.reconciler.models = {
        "table": ServedModel("table", "7", make_session(), (3,), table),
        "small": ServedModel("small", "1", make_session(), (3,)),
        "texts": ServedModel("texts", "2", make_session(shape=(4,), kind=TensorProto.INT64), (4,), texts, True),
    }
    return TestClient(build(server), raise_server_exceptions=False)


def invoke(client, body, model="table", media="application/json"):
    return client.post(f"/v1/models/{model}/invocations", content=body, headers={"Content-Type": media})


FRAME = pd.DataFrame({"a": [1.0, 5.0], "b": [2.0, 4.0], "c": [3.0, 3.0]})
ROWS = FRAME.to_numpy()


@pytest.mark.parametrize(
    "body",
    [
        sent(FRAME),
        sent(FRAME[["c", "a", "b"]].assign(label="x")),  # by name; what is no column of the model's is left out
        sent(FRAME.set_index(pd.Index(["one", "two"]))),
        sent(ROWS),
        sent(ROWS.tolist()),
        json.dumps({"dataframe_records": FRAME.to_dict(orient="records")}),
        json.dumps({"instances": ROWS.tolist()}),
        json.dumps({"instances": FRAME.to_dict(orient="records")}),
        json.dumps({"inputs": {name: FRAME[name].tolist() for name in FRAME}}),
        json.dumps({"inputs": {"input": ROWS.tolist()}}),
        json.dumps({"dataframe_split": {"columns": ["a", "b", "c"], "data": ROWS.tolist()}, "params": None}),
    ],
)
def test_every_form_is_answered_as_the_rows_are(client, body):
    answer = invoke(client, body)
    found = answer.raise_for_status().json()
    assert found["predictions"] == ["z", "x"]
    assert (found["model"], found["version"], len(found["prediction_ids"])) == ("table", "7", 2)
    assert all(prediction_id.matches(one, "table", "7") for one in found["prediction_ids"])
    assert answer.headers["x-airloom-prediction-id"] == found["prediction_ids"][0]


@pytest.mark.parametrize("media", ["text/csv", "text/csv; charset=utf-8", 'Text/CSV;charset="UTF-8"'])
def test_a_csv_is_a_frame(client, media):
    for text in (FRAME.to_csv(index=False), FRAME.to_csv(), "\ufeffc,a,b\r\n\r\n3,1.,2e0\r\n+3,5,4\r\n"):
        assert invoke(client, text.encode(), media=media).json()["predictions"] == ["z", "x"]


def test_the_answer_is_what_mlflows_client_reads(client):
    from mlflow.deployments import PredictionsResponse

    found = PredictionsResponse.from_json(invoke(client, sent(FRAME, top=1)).text)
    assert found.get_predictions(predictions_format="ndarray").tolist() == ["z", "x"]
    assert found.get_predictions()[0].tolist() == ["z", "x"]
    assert [row[0]["class"] for row in found["top"]] == ["z", "x"]


def test_texts_are_cells_of_one_column(client):
    texts = ["a b", "007", "NA"]
    expected = client.post("/v1/models/texts/predict", json={"instances": texts}).json()["predictions"]
    frame = pd.DataFrame({"anything": texts})
    for body, media in (
        (sent(frame), "application/json"),
        (sent(texts), "application/json"),
        (json.dumps({"instances": [{"text": text} for text in texts]}), "application/json"),
        (frame.to_csv(index=False), "text/csv"),
    ):
        assert invoke(client, body, "texts", media).json()["predictions"] == expected
    told = problem_of(invoke(client, sent(frame.assign(more=1)), "texts"))["detail"]
    assert "takes a list of texts; these are 2 columns" in told


def test_the_model_that_serves_alone_needs_no_name(server, client):
    told = problem_of(client.post("/invocations", json={"inputs": ROWS.tolist()}))
    assert (told["status"], told["type"]) == (404, "urn:airloom:not-served")
    assert "3 models serve here, say which: /v1/models/{model}/invocations; served: table, small" in told["detail"]
    server.reconciler.models = {"table": server.reconciler.models["table"]}
    assert client.post("/invocations", json={"inputs": ROWS.tolist()}).json()["predictions"] == ["z", "x"]
    assert invoke(client, sent(FRAME), "table/versions/7").json()["version"] == "7"
    assert "version 7 serves, not '8'" in problem_of(invoke(client, sent(FRAME), "table/versions/8"))["detail"]


def test_probes_of_its_clients(server, client):
    from mlflow.version import VERSION

    assert problem_of(client.get("/ping"))["detail"] == "not ready yet"
    server.reconciler._first = set()
    for path in ("/ping", "/health", "/v1/models/table/ping", "/v1/models/table/health"):
        answer = client.get(path)
        assert (answer.status_code, answer.text) == (200, "\n")
    assert client.get("/v1/models/other/ping").status_code == 404
    assert client.get("/version").text == client.get("/v1/models/table/version").text == VERSION


SPLIT = {"columns": ["a", "b", "c"], "data": [[1, 2, 3]]}
BAD = {
    "no JSON": (400, "{", "no JSON"),
    "a list": (400, "[[1, 2, 3]]", "must be an object with one of dataframe_split"),
    "none of them": (400, "{}", "none of them"),
    "two of them": (400, {"inputs": [], "instances": []}, "has inputs, instances"),
    "an unknown key": (400, {"inputs": [], "messages": []}, "unknown key 'messages'"),
    "a number": (400, {"inputs": 5}, '"inputs" must be a list'),
    "a split that is a list": (400, {"dataframe_split": []}, '"dataframe_split" must be {"columns"'),
    "a split with more": (400, {"dataframe_split": SPLIT | {"dtypes": []}}, '"dataframe_split" must be {"columns"'),
    "no data": (400, {"dataframe_split": {"columns": ["a"]}}, '"dataframe_split" must be {"columns"'),
    "columns that are none": (400, {"dataframe_split": SPLIT | {"columns": [["a"]]}}, "must be a list of names"),
    "a column twice": (400, {"dataframe_split": SPLIT | {"columns": ["a", "b", "a"]}}, "two columns 'a'"),
    "too few cells": (400, {"dataframe_split": SPLIT | {"data": [[1, 2, 3], [1]]}}, "row 1 has 1 cells"),
    "a row that is none": (400, {"dataframe_split": SPLIT | {"data": [[1, 2, 3], 4]}}, "row 1 is no list"),
    "no rows": (422, {"dataframe_split": SPLIT | {"data": []}}, "there are none"),
    "no column": (422, {"dataframe_split": SPLIT | {"columns": ["a", "bb", "c"]}}, "no column 'b'"),
    "records that are none": (400, {"dataframe_records": [1]}, "must be a list of objects"),
    "records of other names": (400, {"dataframe_records": [{"a": 1}, {"A": 1}]}, "row 1 alone has 'A'"),
    "a text": (422, {"dataframe_split": SPLIT | {"data": [[1, 2, "3"]]}}, "holds text in the column 'c'"),
    "a gap": (422, '{"inputs": [[1, 2, NaN]]}', "holds null in the column 'c'"),
    "infinity": (400, '{"inputs": [[1, 2, Infinity], [1, 2, NaN]]}', "no JSON"),
    "half a character": (400, '{"inputs": [[NaN, "\\ud800"]]}', "no JSON"),
    "NaN in depth": (400, "[" * 100_000 + "NaN", "no JSON"),
    "uneven columns": (400, {"inputs": {"a": [1], "b": [1, 2], "c": [1]}}, "as many rows of each name"),
    "a column that is no list": (400, {"inputs": {"a": 1}}, "'a' must be a list"),
    "no columns": (422, {"inputs": {}}, "no column 'a'"),
    "other params": (400, {"inputs": [], "params": {"temperature": 1}}, '"params" may have scores and top'),
    "params that are none": (400, {"inputs": [], "params": []}, '"params" may have scores and top'),
    "a top that is none": (400, {"inputs": [[1, 2, 3]], "params": {"top": "1"}}, '"top" must be'),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_request_is_told_what_is_wrong(client, name):
    status, body, told = BAD[name]
    answer = invoke(client, body if isinstance(body, str) else json.dumps(body))
    assert (answer.status_code, told in problem_of(answer)["detail"]) == (status, True), answer.text


@pytest.mark.parametrize(
    ("text", "status", "told"),
    [
        (b"", 400, "the first line must name the columns"),
        (b"a,b,c\n1,2\n", 400, "row 0 has 2 cells"),
        (b"a,a,c\n1,2,3\n", 400, "two columns 'a'"),
        (b"a,b,c\n", 422, "there are none"),
        (b"a,b\n1,2\n", 422, "no column 'c'"),
        (b"a,b,c\n1,2,x\n", 422, "holds text in the column 'c'"),
        (b"a,b,c\n1,2,\n", 422, "holds null in the column 'c'"),
        (b"a,b,c\n1,2,1_0\n", 422, "holds text in the column 'c'"),
        (b"a,b,c\n1,2,inf\n", 422, "holds text in the column 'c'"),
        (b"a,b,c\n1,2,1e999\n", 422, "instance 0 holds inf in the column 'c'"),
        (b"a,b,c\n1,2," + b"9" * 4400 + b"\n", 422, "holds inf in the column 'c'"),
        (b'a,b,c\n1,2,"3\n', 400, "no CSV"),
        (b"a,b,c\n1,2,\xff\n", 400, "no CSV in UTF-8"),
    ],
)
def test_a_bad_csv_is_told_what_is_wrong(client, text, status, told):
    answer = invoke(client, text, media="text/csv")
    assert (answer.status_code, told in problem_of(answer)["detail"]) == (status, True), answer.text


def test_too_many_rows_are_refused_before_anything_is_made_of_them(client):
    rows = [[1, 2, 3]] * (MOST_INSTANCES + 1)
    for body, media in (
        (json.dumps({"dataframe_split": {"columns": ["a", "b", "c"], "data": rows}}), "application/json"),
        (json.dumps({"inputs": {"a": [1] * len(rows)}}), "application/json"),
        ("a,b,c\n" + "1,2,3\n" * len(rows) + '"', "text/csv"),  # it is not read to its end
    ):
        found = problem_of(invoke(client, body, media=media))
        assert (found["status"], found["type"]) == (413, "urn:airloom:too-many")
    assert invoke(client, "a,b,c\n" + "1,2,3\n" * MOST_INSTANCES, media="text/csv").status_code == 200


@pytest.mark.parametrize(
    "media",
    ["text/csv; charset=latin-1", "application/json; charset=utf-16", "application/vnd.bentoml+pickle", "text/plain"],
)
def test_other_content_types_are_refused(client, media):
    told = problem_of(invoke(client, "{}", media=media))
    assert (told["status"], "send application/json or text/csv in UTF-8" in told["detail"]) == (415, True)


cells = st.one_of(st.integers(-(2**53), 2**53), st.floats(-1e30, 1e30), st.booleans(), st.none(), st.text(max_size=5))


@pytest.fixture(scope="module")
def table(make_session):
    return ServedModel("table", "7", make_session(), (3,), Processing(columns=["a", "b", "c"]))


@settings(deadline=None)
@given(st.lists(st.lists(cells, min_size=3, max_size=3), min_size=1, max_size=5), st.permutations(["a", "b", "c"]))
def test_a_frame_is_the_same_rows_in_any_order_of_its_columns(table, rows, names):
    """Each form is taken as the rows are, or refused as they are."""
    by_name = [dict(zip("abc", row, strict=True)) for row in rows]
    split = {"columns": names, "data": [[row[name] for name in names] for row in by_name]}
    columns = {name: [row[name] for row in by_name] for name in names}

    def taken(form, value):
        try:
            (part,) = instances_of(table, form, value)
        except Exception as error:
            return type(error), str(error)
        return part["input"].tolist()

    found = [
        taken("instances", rows),
        taken("dataframe_split", split),
        taken("dataframe_records", by_name),
        taken("inputs", columns),
    ]
    assert all(one == found[0] for one in found), found


@settings(deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=3, max_size=3))
def test_a_number_of_a_csv_is_that_number(table, row):
    text = pd.DataFrame([row], columns=["a", "b", "c"]).to_csv(index=False)
    (part,) = of_csv(table, text.encode())
    assert part["input"].tolist() == [[float(np.float32(cell)) for cell in row]]
    assert not any(math.isnan(cell) for cell in part["input"][0])
