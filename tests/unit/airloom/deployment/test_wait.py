"""Waiting for a model server: a real HTTP server says what a model server would."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from airloom.deployment.serving import wait_until_served
from airloom.errors import StackError
from airloom.settings import Settings

TOKEN = "right"


@pytest.fixture
def answers() -> Iterator[tuple[str, list[tuple[int, object]]]]:
    """The server's address, and what it answers one after the other; the last one stays."""
    queue: list[tuple[int, object]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = queue.pop(0) if len(queue) > 1 else queue[0]
            if self.headers["Authorization"] != f"Bearer {TOKEN}":
                status, body = 401, {}
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", queue
    server.shutdown()
    server.server_close()


def wait(tmp_path, url: str, token: str = TOKEN, timeout: float = 0.5) -> list[str]:
    lines: list[str] = []
    settings = Settings(home=tmp_path, server_url=url, server_token=token)
    wait_until_served(settings, "digits", "2", timeout, lines.append)
    return lines


def served(version: str) -> tuple[int, object]:
    return 200, {"models": {"digits": {"version": version}}, "errors": {}}


def test_without_a_stack_it_returns_and_says_so(tmp_path) -> None:
    (line,) = wait(tmp_path, "")
    assert "no model server was started" in line


def test_it_waits_until_the_version_is_served(tmp_path, answers) -> None:
    url, queue = answers
    queue += [(503, {}), (200, {"models": {}}), served("1"), served("2")]
    assert wait(tmp_path, url, timeout=60) == ["digits version 2 is served"]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (served("1"), "it serves version 1"),
        ((200, {"models": {}, "errors": {"digits": "version 2: model.onnx is damaged"}}), "model.onnx is damaged"),
        ((200, []), "no answer"),
        ((500, {}), "it answers 500"),
    ],
)
def test_the_error_says_what_the_server_says(tmp_path, answers, answer, said: str) -> None:
    url, queue = answers
    queue.append(answer)
    with pytest.raises(StackError, match=r"digits version 2 is the champion, but .* does not serve it") as error:
        wait(tmp_path, url)
    assert said in str(error.value)


def test_a_wrong_token_and_a_dead_server_are_told_apart(tmp_path, answers) -> None:
    url, queue = answers
    queue.append(served("2"))
    with pytest.raises(StackError, match="it answers 401"):
        wait(tmp_path, url, token="wrong")
    with pytest.raises(StackError, match="no answer"):
        wait(tmp_path, "http://127.0.0.1:9")
