"""A forgetting looks at the inputs that the prediction log keeps: what has the key goes, the rest is named."""

import json
from types import SimpleNamespace

import pyarrow as pa
import pytest

from airloom.monitoring import log_key, prediction_id, prediction_query
from airloom.retention import forget, logged
from airloom.retention.logged import LoggedInputs
from airloom_serving.logged_rows import Answered, Inputs
from airloom_serving.prediction_log import write


class Kept:
    """What stands in for a model's form: rows as they are."""

    def texts(self, cells, rows):
        return [(text, "full" if text else "drop") for text in cells["json"]][:rows]


def answered(settings, model, rows):
    ids = prediction_id.several(model, "1", len(rows))
    texts = [json.dumps(row) if row else None for row in rows]
    answers = Answered(model, "1", ids, [1] * len(rows), 1.0, len(rows), inputs=Inputs(Kept(), {"json": texts}))
    write(settings.prediction_log, [answers])
    return ids


@pytest.fixture
def found():
    values = [("who", pa.array(["needle"], pa.large_string())), ("who", pa.array([7], pa.int64()))]
    return SimpleNamespace(dataset="people", manifests={}, values=values, live={1: 1})


@pytest.fixture
def settings(make_home, tmp_path, monkeypatch):
    monkeypatch.setattr(logged, "_trained_on", lambda *_: ["m"])
    monkeypatch.setattr(logged, "is_new", lambda _: False)
    return make_home(tmp_path)


def test_rows_with_the_key_are_erased_and_others_are_named(settings, found):
    secret = log_key.log_key(settings.home)
    hashed = log_key.hashed(secret, b'"needle"')
    rows = [{"who": "needle", "x": 1}, {"who": "hay"}, {"who": hashed}, {"who": 7.0}, {"x": "needle"}, None]
    ids = answered(settings, "m", rows)
    other = answered(settings, "other", [{"who": "needle"}])
    places = LoggedInputs().holds(settings, found)
    assert {place.name for place in places if place.erased} == {ids[0], ids[2], ids[3]}
    assert not any("needle" in place.note or "hay" in place.note for place in places)
    (rest,) = [place for place in places if not place.erased]
    assert (rest.name, "2 logged rows" in rest.note) == ("m", True)
    for place in [*places, *places]:  # again it does no harm
        if place.erased:
            LoggedInputs().erase(settings, place)
    left = prediction_query.table(settings)["id"].to_pylist()
    assert sorted(left) == sorted([ids[1], ids[4], ids[5], *other])


def test_where_nothing_is_kept_nothing_is_said(settings, found):
    assert LoggedInputs().holds(settings, found) == []
    answered(settings, "m", [None, None])
    assert LoggedInputs().holds(settings, found) == []


def test_every_forgetting_asks_it():
    assert any(isinstance(eraser, LoggedInputs) for eraser in forget.ERASERS)


def test_only_models_that_were_trained_on_the_dataset_are_asked(small, found):
    small.register("one")
    manifests = {"blob": SimpleNamespace(number=1), "older": SimpleNamespace(number=7)}
    assert logged._trained_on(small.settings, SimpleNamespace(dataset="digits", manifests=manifests)) == ["small"]
    assert logged._trained_on(small.settings, SimpleNamespace(dataset="digit", manifests=manifests)) == []
    answered(small.settings, "small", [{"who": "needle"}])
    places = LoggedInputs().holds(
        small.settings, SimpleNamespace(**vars(found) | {"dataset": "digits", "manifests": manifests})
    )
    assert [place.erased for place in places] == [True]
