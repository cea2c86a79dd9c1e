"""Requests that arrived together are run together. There is no timer: nobody waits for others to come.

While a graph runs, requests for its model gather; when it has ended they run as one batch. On an idle server a request
is run in the same turn of the event loop in which it was read, with what else was read in that turn.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from typing import Any, Protocol

import numpy as np

from airloom.inference.limits import rows_at_once
from airloom.inference.model import Ended
from airloom_serving.limits import INLINE_SECONDS

Array = np.ndarray[Any, Any]
Arrays = dict[str, Array]
Result = Arrays | Exception


class Graph(Protocol):
    """The part of a loaded model that a batch needs."""

    steady: bool
    apart: bool

    def run(self, inputs: Arrays, options: Any = None) -> Arrays:
        """What the graph answers."""


class Waiting:
    """A request's inputs, (n, …) by name, and who waits for what comes out of them.

    Attributes:
        until: when it is too late, by the loop's clock.
        rows: how many.
        kind: what has the same kind goes into one array.
        answers: to its rows, where they were made for the whole batch.
    """

    __slots__ = ("answers", "future", "kind", "rows", "until", "values")

    def __init__(self, values: Arrays, until: float, future: "asyncio.Future[Arrays]") -> None:
        self.values, self.until, self.future = values, until, future
        self.kind: tuple[Any, ...]
        if len(values) == 1:
            ((name, array),) = values.items()
            self.rows, self.kind = len(array), (name, array.dtype, array.shape[1:])
        else:
            self.rows = len(next(iter(values.values())))
            self.kind = tuple((name, array.dtype, array.shape[1:]) for name, array in values.items())
        self.answers: list[Any] | None = None


class Batches:
    """Runs a model's requests, of each kind all that wait at once. For one event loop.

    A steady graph that lately took less than `INLINE_SECONDS` is run on the loop itself, since handing it to a thread
    costs more than that; all others run in threads, one batch of the model at a time.

    Args:
        model: whose graph is run.
        pool: its threads.
        answers: makes the answers to all rows of a batch of what went into the graph and what came out of it, or None.
    """

    def __init__(
        self,
        model: Graph,
        pool: ThreadPoolExecutor,
        answers: Callable[[Arrays, Arrays], list[Any] | None] = lambda *_: None,
    ) -> None:
        self._model, self._pool, self._make = model, pool, answers
        self._waiting: list[Waiting] = []
        self._task: asyncio.Task[None] | None = None
        self._busy = False  # a flush is due, or a thread is at work
        self._seconds = float("inf")  # of a row lately

    async def run(self, values: Arrays, until: float) -> Arrays:
        """What the graph answers to a few rows; see `ask`."""
        return await self.ask(values, until).future

    def ask(self, values: Arrays, until: float) -> Waiting:
        """Have a few rows run, with others.

        Args:
            values: (n, …) by name.
            until: when it is too late, by the loop's clock.

        Returns:
            Whose future has what the graph answers; or InstancesRefused, as it refuses these values; or Ended, as it
            did not answer in time.
        """
        loop = asyncio.get_running_loop()
        waiting = Waiting(values, until, loop.create_future())
        self._waiting.append(waiting)
        if not self._busy:
            self._busy = True
            loop.call_soon(self._flush)
        return waiting

    def _flush(self) -> None:
        """Run what waits, on the loop as long as that is quick, else in a thread, after which this is called again."""
        loop = asyncio.get_running_loop()
        while batch := self._next(loop.time()):
            if not self._inline(batch):
                self._task = loop.create_task(self._in_thread(batch))  # kept, else it may be collected
                return
            began = time.thread_time()
            _give(batch, self._answers(batch, None))
            self._took(batch, time.thread_time() - began)
        self._busy = False

    def _next(self, now: float) -> list[Waiting]:
        """The oldest that waits, and all others of its kind that fit into one run; the rest goes on waiting."""
        batch: list[Waiting] = []
        rest: list[Waiting] = []
        room = 0
        for one in self._waiting:
            if one.future.done():  # whoever asked has given up
                continue
            if one.until <= now:
                one.future.set_exception(Ended("its turn did not come in time"))
            elif not batch:
                room = self._most(one) - one.rows
                batch.append(one)
            elif one.kind == batch[0].kind and one.rows <= room:
                room -= one.rows
                batch.append(one)
            else:
                rest.append(one)
        self._waiting = rest
        return batch

    def _most(self, one: Waiting) -> int:
        """How many rows like these are run at once."""
        return rows_at_once(max(array[0].size for array in one.values.values())) if self._model.apart else 0

    def _inline(self, batch: list[Waiting]) -> bool:
        return self._model.steady and self._seconds * sum(one.rows for one in batch) < INLINE_SECONDS

    def _took(self, batch: list[Waiting], seconds: float) -> None:
        """What rows cost: of the runs so far, the newer the heavier. By the CPU, as on a busy machine all is slow."""
        row = seconds / sum(one.rows for one in batch)
        self._seconds = row if self._seconds == float("inf") else 0.8 * self._seconds + 0.2 * row

    async def _in_thread(self, batch: list[Waiting]) -> None:
        loop, options = asyncio.get_running_loop(), run_options()
        deadline = loop.call_at(min(one.until for one in batch), terminate, options)

        def work() -> tuple[list[Result], float]:
            began = time.thread_time()
            return self._answers(batch, options), time.thread_time() - began

        try:
            results, seconds = await loop.run_in_executor(self._pool, work)
        except Exception as error:  # the threads are closed, as the server ends; whatever it is, who waits is told
            results, seconds = [error] * len(batch), 0.0
        finally:
            deadline.cancel()
        self._took(batch, seconds)
        _give(batch, results)
        self._flush()

    def _answers(self, batch: list[Waiting], options: Any) -> list[Result]:
        """What each of a batch gets. Where the graph refuses them together each is asked alone: one is to blame."""
        if len(batch) > 1:
            whole, outputs = self._together(batch, options)
            if isinstance(outputs, Ended):
                return [outputs] * len(batch)
            if isinstance(outputs, dict) and (parts := _parted(outputs, [one.rows for one in batch])):
                self._answer(batch, whole, outputs)
                return list(parts)
        return [self._tried(one.values, options) for one in batch]

    def _answer(self, batch: list[Waiting], inputs: Arrays, outputs: Arrays) -> None:
        """Make the answers of all requests at once: numpy costs the same for a row as for a batch."""
        try:
            answers, first = self._make(inputs, outputs), 0
        except Exception:  # whatever it is: each request meets it by itself, and no other one waits for ever
            return
        if answers is None:
            return
        for one in batch:
            one.answers = answers[first : first + one.rows]
            first += one.rows

    def _together(self, batch: list[Waiting], options: Any) -> tuple[Arrays, Result]:
        try:
            whole = {name: np.concatenate([one.values[name] for one in batch]) for name in batch[0].values}
        except Exception as error:  # no memory for all of them
            return {}, error
        return whole, self._tried(whole, options)

    def _tried(self, values: Arrays, options: Any) -> Result:
        try:
            return self._model.run(values, options)
        except Exception as error:
            return error


def _parted(outputs: Arrays, rows: list[int]) -> list[Arrays]:
    """The rows of each request; none where an output has no row for each row."""
    if any(output.ndim == 0 or len(output) != sum(rows) for output in outputs.values()):
        return []
    ends = list(accumulate(rows))
    places = list(zip([0, *ends], ends, strict=False))
    return [{name: output[first:end] for name, output in outputs.items()} for first, end in places]


def _give(batch: list[Waiting], results: list[Result]) -> None:
    """Hand out what was answered; whoever gave up meanwhile gets nothing."""
    for one, result in zip(batch, results, strict=True):
        if one.future.done():
            continue
        if isinstance(result, Exception):
            one.future.set_exception(result)
        else:
            one.future.set_result(result)


def run_options() -> Any:
    """Of one run, which `terminate` ends."""
    import onnxruntime

    return onnxruntime.RunOptions()


def terminate(options: Any) -> None:
    """End a graph before its next node, in a loop too."""
    options.terminate = True
