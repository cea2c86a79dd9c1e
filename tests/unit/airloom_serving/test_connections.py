"""A real uvicorn, and clients that do not behave: each of these held its connection for ever."""

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn

from airloom_serving import connections
from airloom_serving.connections import Limited
from airloom_serving.limits import HEAD_LIMIT

BIG = b"x" * 2**24  # more than the buffers of both ends take


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """One whose limits are short."""
    patch = pytest.MonkeyPatch()
    patch.setattr(connections, "HEAD_SECONDS", 1.0)
    patch.setattr(connections, "WRITE_SECONDS", 1.5)
    patch.setattr(connections, "MOST_CONNECTIONS", 20)
    patch.setattr(connections.chosen, "AutoHTTPProtocol", connections.chosen.AutoHTTPProtocol)
    connections.install()

    async def app(scope, receive, send):
        if scope["type"] != "http":
            return
        body = BIG if scope["path"] == "/big" else b"{}"
        if scope["path"] == "/slow":
            await asyncio.sleep(2)
        if scope["path"] == "/read":
            while (await receive()).get("more_body"):
                pass
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", timeout_keep_alive=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    yield listening.getsockname()[1]
    server.should_exit = server.force_exit = True
    thread.join(10)
    patch.undo()


def connect(port: int) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port))
    client.settimeout(10)
    return client


def told(client: socket.socket) -> bytes:
    """Everything until the server closes."""
    parts = []
    try:
        while part := client.recv(2**16):
            parts.append(part)
    except ConnectionError:
        pass
    return b"".join(parts)


def test_it_is_the_protocol_that_uvicorn_takes(port):
    """BentoML names none, so that uvicorn chooses; where a release of it chooses otherwise this goes red."""
    config = uvicorn.Config(lambda: None)
    config.load()
    assert config.http_protocol_class is Limited


@pytest.mark.parametrize(
    ("sent", "more", "wanted"),
    [
        (b"", b"", b""),
        (b"GET /", b"", b"HTTP/1.1 408"),
        (b"GET / HTTP/1.1\r\nhost: x\r\n", b"x-a: ", b"HTTP/1.1 408"),
        (b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", b"GET / HTTP", b"HTTP/1.1 200"),
        (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n", b"abc", b"HTTP/1.1 200"),
    ],
    ids=["nothing", "a part of a line", "a part of a header", "a second head", "the rest of a body"],
)
def test_what_does_not_come_is_given_up(port, sent, more, wanted):
    """The last two begin behind an answer: their first byte ended uvicorn's own timer."""
    with connect(port) as client:
        client.sendall(sent)
        time.sleep(0.3)
        client.sendall(more)
        began = time.monotonic()
        answer = told(client)
        assert answer.startswith(wanted)
        assert time.monotonic() - began < 5
        if wanted.endswith(b"408"):
            assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]


@pytest.mark.parametrize("first", [b"GET / HTTP/1.1\r\n", b"POST / HTTP/1.1\r\ncontent-length: 99\r\n\r\n"])
def test_bytes_that_drip_do_not_keep_it_open(port, first):
    """Each of them ended uvicorn's own timer."""
    with connect(port) as client:
        client.sendall(first)
        end = time.monotonic() + 8
        with pytest.raises(ConnectionError):
            while time.monotonic() < end:
                client.sendall(b"x")
                time.sleep(0.05)


def test_a_head_has_a_limit(port):
    with connect(port) as client:
        client.sendall(b"GET / HTTP/1.1\r\n")
        with pytest.raises(ConnectionError):
            for _ in range(100):
                client.sendall(b"x-more: " + b"x" * 10_000 + b"\r\n")
                time.sleep(0.002)
    with connect(port) as client:
        client.sendall(b"GET / HTTP/1.1\r\nx-more: ")
        with contextlib.suppress(ConnectionError):
            for _ in range(HEAD_LIMIT // 1000 + 3):
                time.sleep(0.001)
                client.sendall(b"x" * 1000)
        answer = told(client)
        assert answer.startswith(b"HTTP/1.1 431") or answer == b""  # a reset may overtake it


def test_a_request_that_takes_longer_than_a_head_is_answered(port):
    with connect(port) as client:
        client.sendall(b"GET /slow HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        assert told(client).startswith(b"HTTP/1.1 200")
    with connect(port) as client:  # and so is one whose body takes longer
        client.sendall(b"POST /read HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\nconnection: close\r\n\r\n")
        for _ in range(3):
            time.sleep(0.5)
            client.sendall(b"x")
        assert told(client).startswith(b"HTTP/1.1 200")


def test_many_requests_on_one_connection_are_answered(port):
    with connect(port) as client:
        for _ in range(5):
            for part in (b"GET / HT", b"TP/1.1\r\nhost: x\r\n", b"\r\n"):
                client.sendall(part)
                time.sleep(0.02)
            assert client.recv(2**16).startswith(b"HTTP/1.1 200")
            time.sleep(0.1)
        client.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n" * 5)
        assert told(client).count(b"HTTP/1.1 200") == 5


def test_an_answer_that_nobody_takes_is_given_up(port):
    with connect(port) as client:
        client.sendall(b"GET /big HTTP/1.1\r\nhost: x\r\n\r\n")
        time.sleep(3)
        assert len(told(client)) < len(BIG)
    with connect(port) as client:  # one that is taken slowly is not
        client.sendall(b"GET /big HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        time.sleep(0.4)
        assert len(told(client)) > len(BIG)


def test_connections_have_a_limit_and_places_come_back(port):
    held = [connect(port) for _ in range(20)]
    time.sleep(0.1)
    with connect(port) as client:
        assert told(client).startswith(b"HTTP/1.1 503")
    for one in held:
        one.close()
    time.sleep(0.2)
    with connect(port) as client:
        client.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        assert told(client).startswith(b"HTTP/1.1 200")
    assert len(Limited.answers) == 0
