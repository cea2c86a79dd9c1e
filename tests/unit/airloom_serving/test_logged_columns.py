"""Columns of many requests at once never mix their rows."""

import json

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from airloom.inference.best import best
from airloom.inference.instances import InputSignature
from airloom.monitoring import prediction_id
from airloom.monitoring.prediction_log import schema
from airloom.processing import Processing
from airloom.signature import Port
from airloom_serving.logged_columns import columns, times
from airloom_serving.logged_inputs import form_of
from airloom_serving.logged_rows import TOP, Answered, Inputs, Scored, turns

PLAIN, NAMED = Processing(), Processing(labels=["a", "b", "c"])
FORMS = {
    name: form_of(
        InputSignature(name, (3,), PLAIN, False, Port("x", "float32", ("batch", 3))), policy, lambda: b"k", name
    )
    for name, policy in {"m": '{"inputs": "full"}', "n": '{"inputs": "profile"}', "o": ""}.items()
}


@st.composite
def requests(draw):
    """A request of a model, some of whose rows are kept, in one of the two ways of computing."""
    name, count = draw(st.sampled_from("mno")), draw(st.sampled_from([1, 1, 1, 2, 5, 300]))
    logits = np.random.default_rng(draw(st.integers(0, 2**32))).normal(size=(count, 3)).astype(np.float32)
    processing = draw(st.sampled_from([PLAIN, NAMED]))
    predictions = processing.names(logits.argmax(axis=1).tolist())
    scored = Scored(processing, None, np.split(logits, [count // 2]) if count > 1 else [logits])
    if draw(st.booleans()):
        scored = Scored(processing, None, best=best(processing, None, {"y": logits}, {}, TOP))
    keep = draw(st.none() | st.lists(st.booleans(), min_size=count, max_size=count))
    places = keep if keep is None else [place for place, kept in enumerate(keep) if kept]
    form = FORMS[name]
    return logits, Answered(
        name,
        "1",
        prediction_id.several(name, "1", count),
        predictions,
        1.0,
        count,
        scored=draw(st.none() | st.just(scored)),
        inputs=Inputs(form, {"x": logits}) if form else None,
        request=draw(st.sampled_from(["", "r1", "r2"])),
        places=places,
    )


@settings(deadline=None, max_examples=60)
@given(st.lists(requests(), min_size=1, max_size=12))
def test_each_row_has_what_its_own_request_had(asked):
    made = pa.Table.from_batches([columns(turn) for turn in turns([answered for _, answered in asked])], schema())
    found = {row["id"]: row for row in made.to_pylist()}
    expected = 0
    for logits, answered in asked:
        for place in range(len(answered.ids)) if answered.places is None else answered.places:
            expected += 1
            row, own = found[answered.ids[place]], logits[place]
            assert row["model"] == answered.model
            assert (row["prediction"], row["request"]) == (str(answered.predictions[place]), answered.request or None)
            assert row["rows"] == answered.rows
            if answered.scored:
                assert np.isclose(row["score"], np.exp(own.max()) / np.exp(own).sum())
                names = answered.scored.processing.names(np.argsort(-own).tolist())
                assert [top["class"] for top in row["top"]] == [str(name) for name in names]
            else:
                assert (row["score"], row["top"]) == (None, None)
            if answered.model == "m":
                assert np.array_equal(np.float32(json.loads(row["inputs"])["x"]), own)
            elif answered.model == "n":
                assert np.isclose(json.loads(row["inputs"])["x.highest"], own.max())
            else:
                assert (row["inputs"], row["inputs_by"]) == (None, "drop")
    assert expected == made.num_rows


@given(st.lists(st.integers(0, (1 << 48) - 1), min_size=1, max_size=20))
def test_the_time_of_an_id_is_the_one_in_it(milliseconds):
    ids = [prediction_id.numbered("m", "1", at, [at % 1000])[0] for at in milliseconds]
    assert times(ids).tolist() == milliseconds == [prediction_id.milliseconds(identity) for identity in ids]
