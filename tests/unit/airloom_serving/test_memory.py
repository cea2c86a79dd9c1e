"""What hostile bodies cost: memory is bounded for every kind of input, whatever the body repeats."""

import asyncio
import json
from base64 import b64encode
from io import BytesIO
from pathlib import Path

import httpx
import pytest
from onnx import TensorProto
from PIL import Image

from airloom.pictures import Picture
from airloom.processing import Pixels, Processing, Tokenise
from airloom_serving.api import build
from airloom_serving.limits import BODY_LIMIT
from airloom_serving.security import Guard
from airloom_serving.served import ServedModel

MB = 2**20


class Peak:
    """The most memory that this process has had beyond what it had before."""

    def __enter__(self):
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        self._before = self._read("VmRSS")
        return self

    def __exit__(self, *_):
        self.bytes = self._read("VmHWM") - self._before

    def _read(self, name):
        lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        return int(lines[name].split()[0]) * 1024


@pytest.fixture
def app(server, make_session):
    """A guarded server of a model for each kind of input."""
    tokenise = Tokenise(vocabulary=["a"], length=100_000)
    whole = {"kind": TensorProto.INT64}
    server.reconciler.models = {
        "numbers": ServedModel("numbers", "1", make_session(), (3,)),
        "scalars": ServedModel("scalars", "1", make_session(shape=()), ()),
        "images": ServedModel("images", "1", make_session(shape=(1, 8, 8)), (1, 8, 8), Processing(pixels=Pixels.UNIT)),
        "pictures": ServedModel("pictures", "1", make_session("Flatten", (3, 32, 32)), (3, 32, 32), PICTURES),
        "tokens": ServedModel("tokens", "1", make_session(shape=(6,), **whole), (6,), whole=True),
        "texts": ServedModel(
            "texts", "1", make_session(shape=(100_000,), **whole), (100_000,), Processing(tokenise=tokenise), True
        ),
    }
    return Guard(build(server), "secret")


async def _ask(app, bodies):
    headers = {"Authorization": "Bearer secret"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server", headers=headers) as ask:
        return await asyncio.gather(*(ask.post("/predict", content=body) for body in bodies))


def filled(model, before, unit, size):
    """A body of about `size` bytes whose instances repeat a unit."""
    head = f'{{"model": "{model}", "instances": [{before}'
    count = (size - len(head) - 2) // (len(unit) + 1)
    return (head + ",".join([unit] * count) + "]}").encode()


LONG = '"' + "x" * 60_000 + '",'
UNITS = {
    "one long text among empty ones": (LONG, '""'),
    "one long text among rows of texts": ("[" + LONG + '"",""],', '["","",""]'),
    "empty lists": ("", "[]"),
    "lists of lists": ("", "[[[[]]]]"),
    "objects": ("", "{}"),
    "numbers": ("", "0"),
    "fractions": ("", ".5".replace(".", "0.")),
    "rows": ("", "[0,0,0]"),
    "short texts": ("", '"ab"'),
    "other letters": ('"\U0001f600",', '"\u6f22"'),
    "punctuation": ("", '"' + "\u3002" * 1000 + '"'),
    "null": ("", "null"),
    "base64 of nothing": ("", '"AAAA"'),
}
PICTURES = Processing(picture=Picture(height=32, width=32))
SIZES = {90_000: 24 * MB, MB: 60 * MB}  # objects of JSON take some 30 times its bytes


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("size", SIZES)
def test_no_body_takes_more_than_a_small_multiple_of_its_bytes(app, unit, size):
    for model in ("numbers", "scalars", "images", "pictures", "tokens", "texts") if size < MB else ("images", "texts"):
        body = filled(model, *UNITS[unit], size)
        with Peak() as peak:
            (answer,) = asyncio.run(_ask(app, [body]))
        assert answer.status_code in (200, 413, 422), answer.text[:300]
        assert len(answer.content) < 2 * MB
        assert peak.bytes < SIZES[size], f"{model}: {peak.bytes / MB:.0f} MB"


def test_many_large_bodies_at_once_have_a_limit_together(app):
    """64 of them took 5.3 GB."""
    body = filled("numbers", "", "0", BODY_LIMIT)
    with Peak() as peak:
        answers = asyncio.run(_ask(app, [body] * 64))
    codes = sorted({answer.status_code for answer in answers})
    assert codes == [413, 503]
    assert {answer.headers["retry-after"] for answer in answers if answer.status_code == 503} == {"1"}
    assert peak.bytes < 200 * MB
    assert app.in_flight.taken == 0
    (after,) = asyncio.run(_ask(app, [json.dumps({"model": "numbers", "instances": [[1, 2, 3]]}).encode()]))
    assert after.json()["predictions"] == [2]


def test_pictures_that_are_large_when_decoded_take_turns_or_are_refused(app):
    """8 megapixels of a few KB: what is decoded at once is that of one model's threads, whatever is asked."""
    files = []
    for size in ((4096, 2048), (4096, 2049)):
        file = BytesIO()
        Image.new("RGBA", size).save(file, "PNG")
        files.append(b64encode(file.getvalue()).decode())
    body = json.dumps({"model": "pictures", "instances": files[:1] * 4}).encode()
    with Peak() as peak:
        answers = asyncio.run(_ask(app, [body] * 8))
    assert {answer.status_code for answer in answers} == {200}
    assert peak.bytes < 500 * MB
    refused = json.dumps({"model": "pictures", "instances": files}).encode()
    with Peak() as peak:
        (answer,) = asyncio.run(_ask(app, [refused]))
    assert answer.status_code == 422
    assert "the picture of instance 1 is too large: 4096 x 2049 pixels" in answer.json()["error"]


def test_texts_that_become_too_many_numbers_are_refused_by_count(app):
    body = {"model": "texts", "instances": ["a"] * 200}
    (answer,) = asyncio.run(_ask(app, [json.dumps(body).encode()]))
    assert answer.status_code == 413
    assert "at most 167 instances a request, as each becomes 100000 numbers; these are 200" in answer.json()["error"]


def test_probabilities_have_a_limit(app):
    body = {"model": "texts", "instances": ["a"] * 100, "scores": True}
    (answer,) = asyncio.run(_ask(app, [json.dumps(body).encode()]))
    assert (answer.status_code, "at most 524288 probabilities" in answer.json()["error"]) == (413, True)
