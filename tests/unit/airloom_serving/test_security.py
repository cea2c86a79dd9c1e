import asyncio
from base64 import b64encode

import pytest
from served.problems import problem_of
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from airloom_serving import security
from airloom_serving.limits import BODY_LIMIT, MOST_HEADERS, InFlight
from airloom_serving.security import OPEN_PATHS, Guard, NoRoom, TooLarge, TooSlow

RIGHT = {"Authorization": "Bearer secret"}


async def size(request: Request):
    try:
        return JSONResponse({"size": len(await request.body())})
    except TooLarge:
        return PlainTextResponse("too large", 413)


def guarded(token):
    paths = ["/predict", "/invocations", "/v1/models/a/invocations", *OPEN_PATHS]
    app = Starlette(routes=[Route(path, size, methods=["GET", "POST"]) for path in paths])
    return TestClient(Guard(app, token))


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "secret"}])
def test_without_the_token_nothing_but_the_probes_answers(headers):
    client = guarded("secret")
    for path in ("/predict", "/status", "/", "/livez/", "//livez"):
        answer = client.get(f"http://testserver{path}", headers=headers)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert "Authorization: Bearer" in problem_of(answer)["detail"]
    probes = OPEN_PATHS - {"/metrics"}
    assert [client.get(path, headers=headers).status_code for path in probes] == [200] * 5
    assert client.get("/metrics", headers=headers).status_code == (401 if headers else 200)  # a revoked one is told


def test_mlflows_own_client_sends_the_token_as_a_password_at_its_doors_only():
    """It takes host and port, no header: requests makes `Basic` of `user:TOKEN@host`."""
    basic = {"Authorization": "Basic " + b64encode(b"anybody:secret").decode()}
    client = guarded("secret")
    assert client.post("/invocations", headers=basic).status_code == 200
    assert client.post("/v1/models/a/invocations", headers=basic).status_code == 200
    assert client.get("/predict", headers=basic).status_code == 401
    for wrong in (b"anybody:secrets", b"secret", b":", b"secret:"):
        header = {"Authorization": "Basic " + b64encode(wrong).decode()}
        assert client.post("/invocations", headers=header).status_code == 401
    assert client.post("/invocations", headers={"Authorization": "Basic ?"}).status_code == 401
    nobody = {"Authorization": "Basic " + b64encode(b"anybody:").decode()}
    assert guarded("").post("/invocations", headers=nobody).status_code == 401


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Bearer None"])
def test_an_empty_token_lets_nobody_in(header):
    assert guarded("").get("/predict", headers={"Authorization": header}).status_code == 401


def test_the_right_token_lets_a_body_in_up_to_the_limit():
    answer = guarded("secret").post("/predict", headers=RIGHT, content=b"x" * BODY_LIMIT)
    assert answer.json() == {"size": BODY_LIMIT}


@pytest.mark.parametrize("length", [str(BODY_LIMIT + 1), "-1", "many", "9" * 5000])
def test_a_length_above_the_limit_is_413(length):
    answer = guarded("secret").post("/predict", headers={**RIGHT, "Content-Length": length}, content=b"x")
    assert (answer.status_code, problem_of(answer)["status"]) == (413, 413)


@pytest.mark.parametrize("path", ["/predict", "/", "/nothing", *sorted(OPEN_PATHS)])
@pytest.mark.parametrize(
    "media",
    ["application/vnd.bentoml+pickle", "Application/Vnd.BentoML+Pickle; charset=utf-8", "application/x-python-pickle"],
)
def test_no_pickle_is_taken_on_any_route(path, media):
    """BentoML reads them wherever it takes itself for an inner service."""
    answer = guarded("secret").post(path, headers={**RIGHT, "Content-Type": media}, content=b"x")
    assert (answer.status_code, problem_of(answer)["title"]) == (415, "Unsupported Media Type")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        (b"authorization", [b"Bearer secret", b"Bearer secret"]),
        (b"content-type", [b"application/vnd.bentoml+pickle", b"application/json"]),
        (b"content-length", [b"1", b"2"]),
    ],
)
def test_a_header_that_layers_may_read_differently_comes_once(name, values):
    headers = [(b"authorization", b"Bearer secret")] if name != b"authorization" else []
    assert _statuses(headers + [(name, value) for value in values]) == [400]
    assert _statuses([(b"authorization", b"Bearer secret"), (b"x-twice", b"1"), (b"x-twice", b"2")]) == [200]


def test_headers_have_a_limit():
    right = [(b"authorization", b"Bearer secret")]
    assert _statuses(right + [(b"x-%d" % number, b"") for number in range(MOST_HEADERS - 1)]) == [200]
    assert _statuses(right + [(b"x-%d" % number, b"") for number in range(MOST_HEADERS)]) == [431]


def _statuses(headers, kind="http"):
    """What is answered to headers as they came."""
    sent = []

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})

    async def send(message):
        sent.append(message)

    asyncio.run(Guard(app, "secret")({"type": kind, "path": "/predict", "headers": headers}, None, send))
    return [message.get("status", message.get("code")) for message in sent if not message["type"].endswith("body")]


def test_no_websocket_passes_without_a_token():
    """BentoML's own app got them."""
    assert _statuses([], "websocket") == [1008]


def test_a_body_without_a_length_is_counted():
    """Starlette's client joins chunks, so this speaks ASGI itself."""
    app = Starlette(routes=[Route("/predict", size, methods=["POST"])])
    chunks = [{"type": "http.request", "body": b"x" * 2**20, "more_body": True}] * 9
    sent, left = [], list(chunks)

    async def receive():
        return left.pop()

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/predict",
        "headers": [(b"authorization", b"Bearer secret")],
        "query_string": b"",
    }
    asyncio.run(Guard(app, "secret")(scope, receive, send))
    assert sent[0]["status"] == 413


def test_bodies_share_the_room_that_there_is_and_give_it_back():
    app = Starlette(routes=[Route("/predict", size, methods=["POST"])])
    guard = Guard(app, "secret", InFlight(10))
    client = TestClient(guard, headers=RIGHT)
    assert guard.in_flight.take(4)  # another request's
    answer = client.post("/predict", content=b"x" * 7)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "may be in flight" in problem_of(answer)["detail"]
    assert client.post("/predict", content=b"x" * 6).json() == {"size": 6}
    with pytest.raises(NoRoom):  # without a length, it is seen while it comes
        client.post("/predict", content=iter([b"x" * 7]))
    assert guard.in_flight.taken == 4


def test_a_body_that_does_not_come_is_given_up(monkeypatch):
    """BentoML's own timer would watch for it, and is passed by; one timer watches all bodies."""
    monkeypatch.setattr(security, "BODY_SECONDS", 0.2)
    ended = []

    async def app(scope, receive, send):
        try:
            await receive()
        except TooSlow as error:
            ended.append(str(error))

    guard = Guard(app, "secret")
    scope = {"type": "http", "path": "/predict", "headers": [(b"authorization", b"Bearer secret")]}

    async def never():
        await asyncio.sleep(60)

    async def at_once():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def some():
        slow = [asyncio.ensure_future(guard(scope, never, never)) for _ in range(3)]
        await guard(scope, at_once, never)
        assert len(ended) == 0
        await asyncio.wait_for(asyncio.gather(*slow), 10)
        gone = asyncio.ensure_future(guard(scope, never, never))  # its client hung up
        await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone

    asyncio.run(some())
    assert len(ended) == 3
    assert len(guard._clock) == 0
    assert guard.in_flight.taken == 0


def test_requests_at_once_have_a_limit(monkeypatch):
    monkeypatch.setattr(security, "MOST_REQUESTS", 2)
    statuses = []

    async def app(scope, receive, send):
        await asyncio.sleep(0.1)
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message):
        statuses.append(message.get("status"))

    guard = Guard(app, "secret")
    scope = {"type": "http", "path": "/predict", "headers": [(b"authorization", b"Bearer secret")]}

    async def some():
        await asyncio.gather(*(guard(scope, None, send) for _ in range(5)))
        await guard(scope, None, send)

    asyncio.run(some())
    assert [status for status in statuses if status] == [503, 503, 503, 200, 200, 200]
