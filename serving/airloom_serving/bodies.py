"""How a body is judged: where, when, and what its header calls it."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from airloom.inference.model import Extras
from airloom_serving.asgi import Refused, Scope
from airloom_serving.limits import MOST_SCORES, SMALL_BODY

T = TypeVar("T")


class Judging:
    """Small bodies at once, large ones one at a time in a thread: the objects of JSON take some 30 times its bytes."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    async def of(self, judge: Callable[..., T], body: bytes, *more: Any) -> T:
        """What `judge` says of a body.

        Args:
            judge: takes the body, and
            more: what else it takes.
        """
        if len(body) <= SMALL_BODY:
            return judge(body, *more)
        async with self._turn:
            return await asyncio.to_thread(judge, body, *more)


def media_of(scope: Scope) -> tuple[str, dict[str, str]]:
    """The content type of a request and its parameters, in lower case; "" where it says none."""
    header = next((value for name, value in scope["headers"] if name == b"content-type"), b"").decode("latin-1")
    media, *pairs = (part.strip() for part in header.lower().split(";"))
    return media, {
        name.strip(): value.strip(' "') for name, _, value in (pair.partition("=") for pair in pairs if pair)
    }


def extras_of(scores: Any, top: Any) -> Extras:
    """What is wanted besides the predictions.

    Args:
        scores: as JSON has it.
        top: likewise.

    Raises:
        Refused: one of them is of another kind.
    """
    if scores is not None and type(scores) is not bool:
        raise Refused(400, '"scores" must be true or false', input="scores")
    if top is not None and (type(top) is not int or top < 1):
        raise Refused(400, '"top" must be a whole number, 1 or more', input="top")
    return Extras(bool(scores), top or 0, MOST_SCORES)
