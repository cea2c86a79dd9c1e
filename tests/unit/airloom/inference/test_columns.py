"""Rows with columns: loaded, evaluated, served and asked in a notebook, they are made the same inputs."""

from base64 import b64encode
from io import BytesIO

import numpy as np
import orjson
import pandas as pd  # noqa: TID253 - frames are rows too
import pytest
import torch  # noqa: TID253 - a loader gives tensors
from PIL import Image
from starlette.testclient import TestClient

from airloom.errors import InstancesRefused
from airloom.evaluation import inference
from airloom.golden import Golden
from airloom.inference.model import Extras, LoadedModel
from airloom.interactive.models import Model
from airloom.training.prepared import Prepared
from airloom_serving.api import build
from airloom_serving.description import described
from airloom_serving.examples import example_of
from airloom_serving.frames import _typed
from airloom_serving.server import Server


def picture(grey):
    file = BytesIO()
    Image.new("L", (5, 3), grey).save(file, "PNG")
    return file.getvalue()


ROWS = [
    {"words": [1, 2, 3], "miles": 150.0, "hour": 6, "kind": "bus", "image": picture(0)},
    {"words": [4], "miles": None, "hour": 18, "kind": "never seen", "image": picture(255)},
    {"words": [], "miles": 0, "hour": 12.5, "kind": None, "image": picture(51)},
]


def as_json(rows):
    return orjson.loads(orjson.dumps([{**row, "image": b64encode(row["image"]).decode()} for row in rows]))


@pytest.fixture
def client(several, tmp_path, monkeypatch):
    monkeypatch.setenv("AIRLOOM_HOME", str(tmp_path))
    server = Server()
    server.reconciler.models["several"] = several
    return TestClient(build(server), raise_server_exceptions=False)


def ask(client, instances, **more):
    return client.post("/predict", json={"model": "several", "instances": instances, **more})


def test_the_same_rows_are_the_same_inputs_at_every_door(several, client, monkeypatch):
    seen = {}

    def watched(door):
        def outputs(model, inputs, options=None):
            seen[door] = inputs
            return run(model, inputs, options)

        monkeypatch.setattr(LoadedModel, "outputs", outputs)

    run = LoadedModel.outputs
    watched("server")
    answer = ask(client, as_json(ROWS)).json()
    watched("notebook")
    notebook = Model(None, several).predict(ROWS)
    watched("frame")
    frame = pd.DataFrame([{**row, "other": 1} for row in ROWS])
    assert Model(None, several).predict(frame) == notebook
    raw = {name: [row[name] for row in ROWS] for name in ROWS[0]}
    raw |= {"miles": np.array([150, np.nan, 0], np.float32), "hour": np.array([6, 18, 12.5], np.float64)}
    parts = inference._parts(several.session, several.graph, several.processing, raw, len(ROWS))
    ((_, seen["evaluation"], outputs),) = parts
    loaded = {name: torch.from_numpy(cells) if isinstance(cells, np.ndarray) else cells for name, cells in raw.items()}
    batch, _ = Prepared(several.processing.inputs)(loaded)  # what a loader calls as its `transform`
    seen["loader"] = {name: tensor.numpy() for name, tensor in batch.items()}
    assert set(seen) == {"server", "notebook", "frame", "evaluation", "loader"}
    first = seen["server"]
    assert first["ids"].tolist() == [[1, 2, 3], [4, 0, 0], [0, 0, 0]]
    assert first["mask"].tolist() == [[1, 1, 1], [1, 0, 0], [0, 0, 0]]
    assert (first["numbers"][:, 0].tolist(), first["kind"].tolist()) == ([1, 0, -2], [[1], [0], [0]])
    assert first["image"].reshape(3, -1)[:, 0].tolist() == [0, 1, np.float32(0.2)]
    for door, inputs in seen.items():
        for name, array in inputs.items():
            assert (door, array.dtype) == (door, first[name].dtype)
            np.testing.assert_array_equal(array, first[name], err_msg=f"{door} {name}")
    assert answer["predictions"] == notebook
    assert [row["length"] for row in notebook] == outputs["length"].tolist() == [3, 1, 0]
    assert [row["scores"] for row in notebook] == outputs["scores"].tolist()


def changed(place=1, drop="", **cells):
    rows = as_json(ROWS)
    rows[place] = {name: cell for name, cell in {**rows[place], **cells}.items() if name != drop}
    return rows


@pytest.mark.parametrize(
    ("instances", "problem"),
    [
        (changed(drop="hour"), "instance 1 has no 'hour'"),
        (changed(place=2, drop="hour", hours=1), "instance 2 has no 'hour'\n  -> did you mean hours?"),
        (changed(extra=1), "instance 1 has 'extra', which the model does not take"),
        (changed(words="one"), "instance 1: 'words' is text, and the model takes int64"),
        (changed(words=[1.5]), "instance 1: 'words' holds a number with a fraction"),
        (changed(words=orjson.loads("[" * 900 + "]" * 900)), "instance 1: 'words' holds a list"),
        (changed(words=[[1]]), "instance 1: 'words' has the shape (1, 1), and the model takes (length,)"),
        (changed(miles="far"), "instance 1: 'miles' is text, and no number"),
        (changed(kind=["bus"]), "instance 1: 'kind' is a list, and no category"),
        (changed(image="??"), "instance 1: 'image' is no base64"),
        (changed(image="AAAA"), "the picture of instance 1"),
        (changed(image=None), "instance 1: 'image' is null, and no picture file"),
        ([[1, 2]], "instance 0 is a list"),
        ([], "there are none"),
    ],
)
def test_a_row_that_does_not_fit_is_refused_with_instance_input_and_value(client, several, instances, problem):
    answer = ask(client, instances)
    assert answer.status_code == 422
    assert problem in answer.json()["error"]
    assert "several takes a list of objects with words: int64 (length,), miles: number" in answer.json()["error"]
    with pytest.raises(InstancesRefused) as refusal:
        several.answers(several.parse(instances))
    assert str(refusal.value) == answer.json()["error"]


def test_what_it_takes_is_told(client, several):
    told = client.get("/status").json()["models"]["several"]
    assert told["inputs"][0] == {"name": "words", "type": "int64", "shape": ["length"]}
    assert [(port["name"], port["type"]) for port in told["inputs"][1:]] == [
        ("miles", "number"),
        ("hour", "number"),
        ("kind", "category"),
        ("image", "picture"),
    ]
    assert told["outputs"] == described(several)["outputs"]
    assert told["outputs"][0] == {"name": "scores", "type": "float32", "shape": [3]}
    model = Model(None, several)
    assert [column.name for column in model.inputs] == ["words", "miles", "hour", "kind", "image"]
    assert repr(model).endswith("image picture → scores, length>")


def test_a_frame_at_mlflows_door_is_the_same_rows(client):
    """A gap of a frame comes as NaN, which no JSON is: it is the null of the other doors."""
    from mlflow.utils.proto_json_utils import dump_input_data

    def invoke(body, media="application/json"):
        return client.post("/invocations", content=body, headers={"Content-Type": media})

    rows = as_json(ROWS)
    wanted = ask(client, rows).json()["predictions"]
    frame = pd.DataFrame(rows).assign(other=1)
    assert "NaN" in dump_input_data(frame)
    assert invoke(dump_input_data(frame)).json()["predictions"] == wanted
    assert invoke(orjson.dumps({"instances": rows})).json()["predictions"] == wanted
    found = invoke(dump_input_data(frame.rename(columns={"hour": "hours"}))).json()
    assert ("did you mean hours?" in found["detail"], found["input"]) == (True, "hour")
    found = invoke(frame.drop(columns="words").to_csv(index=False), "text/csv").json()
    assert ("no column 'words'" in found["detail"], found["input"]) == (True, "words")


def test_cells_of_a_csv_are_what_their_column_takes(several):
    assert _typed(several, "miles", ["1", "2.5", "", "x"]) == [1, 2.5, None, "x"]
    assert _typed(several, "kind", ["bus", "", "NA"]) == ["bus", None, "NA"]
    assert _typed(several, "image", ["AAAA", ""]) == ["AAAA", None]


def test_an_example_of_each_column_is_answered(several, session):
    inputs = {
        "ids": np.array([[1, 2, 0]]),
        "mask": np.array([[1, 1, 0]]),
        "numbers": np.zeros((1, 2), np.float32),
        "kind": np.array([[1]]),
        "image": np.zeros((1, 1, 2, 2), np.float32),
    }
    example = example_of(several, Golden(inputs, {}))
    assert (example["words"], example["miles"], example["kind"]) == ([1, 2, 0], 100, "bus")
    assert several.answers(several.parse([example])).predictions


def test_several_outputs_have_no_probabilities(client, several):
    answer = ask(client, as_json(ROWS), top=1)
    assert (answer.status_code, answer.json()["error"]) == (
        422,
        "several answers with several outputs (scores, length): it has no probabilities",
    )
    assert several.known_classes == []


def test_rows_that_are_filled_up_count_as_long_as_the_longest(client, several):
    rows = changed(words=[1] * 60_000)
    assert several.signature.judge(rows).width > 60_000
    answer = ask(client, rows + [as_json(ROWS)[0]] * 300)
    assert answer.status_code == 413
    assert "as each is filled up to" in answer.json()["error"]


def test_a_part_of_many_rows_is_as_its_rows_alone(several):
    many = ROWS * 900  # more than the graph is given at once
    alone = several.answers(several.signature.judge(ROWS)).predictions
    together = several.answers(several.signature.judge(many)).predictions
    assert len(together) == 2700
    assert together == alone * 900


def test_an_answer_has_at_most_so_many_numbers(several):
    with pytest.raises(InstancesRefused, match="at most 11 numbers, these were 3 times 4"):
        several.answers(several.signature.judge(ROWS), Extras(most=11))


def test_what_no_training_row_was_like_is_answered_and_counted(several, client):
    """A number beyond those that training saw, and a category that it did not; a missing cell is none of both."""
    several.processing = several.processing.model_copy(update={"observed": {"miles": (0.1, 150.0), "hour": (0, 23)}})
    image = picture(9)
    row = {"words": [1], "miles": float(np.float32(0.1)), "hour": 23, "kind": "bus", "image": image}
    asked = [row, {**row, "miles": None, "kind": None}, {**row, "miles": 0.0}, {**row, "hour": 24, "kind": "boat"}]
    asked += [{**row, "kind": "boat"}]
    assert several.answers(several.parse(asked), Extras()).outside == 3
    assert ask(client, as_json(asked)).status_code == 200
    assert 'airloom_outside_total{model="several",version="1"} 3.0' in client.get("/metrics").text
