"""Requests that arrive together are run together, and each gets its own answer."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime  # noqa: TID253 - a test of ONNX code
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from airloom.errors import InstancesRefused
from airloom.golden import Golden
from airloom.inference.model import Ended
from airloom_serving import batches
from airloom_serving.batches import Batches
from airloom_serving.served import ServedModel


class Graph:
    """Doubles its input; refuses rows that hold -1, and remembers what it was asked."""

    def __init__(self, steady=False, apart=True, seconds=0.0):
        self.steady, self.apart, self._seconds, self.asked = steady, apart, seconds, []

    def run(self, inputs, options=None):
        (values,) = inputs.values()
        self.asked.append(len(values))
        end = time.monotonic() + self._seconds
        while time.monotonic() < end:
            if options is not None and options.terminate:
                raise Ended("ended")
            time.sleep(0.001)
        if (values == -1).any():
            raise InstancesRefused("it holds -1")
        return {"output": values * 2}


def together(graph, requests, seconds=20.0):
    """What each gets that is asked at once: an array, or the error."""

    async def ask():
        with ThreadPoolExecutor(4) as pool:
            queue = Batches(graph, pool)
            until = asyncio.get_running_loop().time() + seconds
            asked = (queue.run({"input": np.asarray(values, np.float32)}, until) for values in requests)
            return await asyncio.gather(*asked, return_exceptions=True)

    return asyncio.run(ask())


rows = st.lists(st.lists(st.integers(-1, 9), min_size=2, max_size=2), min_size=1, max_size=4)
longer = st.lists(st.lists(st.integers(-1, 9), min_size=3, max_size=3), min_size=1, max_size=4)


@given(st.lists(st.one_of(rows, longer), min_size=1, max_size=40), st.booleans(), st.booleans())
def test_each_gets_the_answer_to_its_own_rows(requests, steady, apart):
    for values, found in zip(requests, together(Graph(steady, apart), requests), strict=True):
        if any(-1 in row for row in values):
            assert isinstance(found, InstancesRefused)
        else:
            assert found["output"].tolist() == (2 * np.asarray(values)).tolist()


def test_what_arrived_together_is_one_run():
    graph = Graph()
    together(graph, [[[number, 0]] for number in range(64)])
    assert graph.asked == [64]


def test_answers_that_cannot_be_made_for_a_batch_leave_nobody_waiting():
    async def ask():
        with ThreadPoolExecutor(1) as pool:
            queue = Batches(Graph(steady=True), pool, lambda *_: 1 / 0)
            until = asyncio.get_running_loop().time() + 20
            asked = [queue.ask({"input": np.full((1, 2), number)}, until) for number in range(3)]
            found = await asyncio.wait_for(asyncio.gather(*(one.future for one in asked)), 10)
            return [output["output"][0, 0] for output in found], [one.answers for one in asked]

    assert asyncio.run(ask()) == ([0, 2, 4], [None] * 3)


def test_while_a_graph_runs_the_next_batch_gathers():
    graph = Graph(seconds=0.05)

    async def ask():
        with ThreadPoolExecutor(4) as pool:
            queue, until = Batches(graph, pool), asyncio.get_running_loop().time() + 20
            first = asyncio.ensure_future(queue.run({"input": np.ones((1, 2))}, until))
            await asyncio.sleep(0.01)
            others = [asyncio.ensure_future(queue.run({"input": np.ones((1, 2))}, until)) for _ in range(10)]
            await asyncio.gather(first, *others)

    asyncio.run(ask())
    assert graph.asked == [1, 10]


def test_one_that_the_graph_refuses_spoils_no_other():
    requests = [[[1, 1]], [[-1, 1]], [[3, 3]]]
    first, bad, last = together(Graph(), requests)
    assert (first["output"].tolist(), last["output"].tolist()) == ([[2, 2]], [[6, 6]])
    assert isinstance(bad, InstancesRefused)


def test_a_run_is_ended_at_the_deadline_of_those_who_wait():
    graph = Graph(seconds=30)
    began = time.monotonic()
    assert [type(found) for found in together(graph, [[[1, 1]], [[2, 2]]], seconds=0.2)] == [Ended, Ended]
    assert time.monotonic() - began < 10
    assert graph.asked == [2]


@pytest.mark.parametrize("steady", [False, True])
def test_no_memory_for_a_batch_costs_no_request(monkeypatch, steady):
    """Each is run alone then; nobody waits for ever, nor whoever comes next."""

    def fails(_):
        raise MemoryError

    monkeypatch.setattr(batches.np, "concatenate", fails)
    graph = Graph(steady)
    found = together(graph, [[[1, 1]], [[2, 2]]]) + together(graph, [[[3, 3]], [[4, 4]]])
    assert [one["output"].tolist() for one in found] == [[[2, 2]], [[4, 4]], [[6, 6]], [[8, 8]]]


def test_threads_that_are_closed_leave_nobody_waiting():
    async def ask():
        pool = ThreadPoolExecutor(1)
        pool.shutdown()
        waiting = Batches(Graph(), pool).run({"input": np.ones((1, 2))}, asyncio.get_running_loop().time() + 20)
        with pytest.raises(RuntimeError):
            await asyncio.wait_for(waiting, 10)

    asyncio.run(ask())


def test_who_gave_up_is_not_run():
    graph = Graph(seconds=0.05)

    async def ask():
        with ThreadPoolExecutor(4) as pool:
            queue, until = Batches(graph, pool), asyncio.get_running_loop().time() + 20
            first = asyncio.ensure_future(queue.run({"input": np.ones((1, 2))}, until))
            await asyncio.sleep(0.01)
            gone, stays = [asyncio.ensure_future(queue.run({"input": np.ones((1, 2))}, until)) for _ in range(2)]
            await asyncio.sleep(0)
            gone.cancel()
            await asyncio.gather(first, stays)

    asyncio.run(ask())
    assert graph.asked == [1, 1]


def test_a_quick_graph_without_loops_is_run_on_the_loop_from_its_second_run_on():
    threads = []

    class Watched(Graph):
        def run(self, inputs, options=None):
            threads.append(options is None)
            return super().run(inputs, options)

    for steady in (True, False):
        threads.clear()
        graph = Watched(steady)

        async def ask(graph=graph):
            with ThreadPoolExecutor(1) as pool:
                queue, until = Batches(graph, pool), asyncio.get_running_loop().time() + 20
                for _ in range(3):
                    await queue.run({"input": np.ones((1, 2))}, until)

        asyncio.run(ask())
        assert threads == [False, steady, steady]


@pytest.fixture
def centred():
    """A graph that takes the mean of the rows beside a row from it."""
    sides = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3]) for name in ("input", "output")]
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["mean"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["input", "mean"], ["output"]),
    ]
    graph = helper.make_graph(nodes, "g", sides[:1], sides[1:])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])


def test_a_model_that_looks_at_the_rows_beside_a_row_gets_one_request_at_a_time(centred, make_session):
    inputs = {"input": np.asarray([[0, 1, 2], [3, 5, 8]], np.float32)}
    for session, apart in ((centred, False), (make_session(), True)):
        model = ServedModel("m", "1", session, (3,), steady=True)
        model._loaded(Golden(inputs, model.outputs(inputs)))
        assert model.apart is apart
    model = ServedModel("m", "1", centred, (3,), steady=True)
    found = together(model, [[[0, 1, 2]], [[3, 5, 8]]])
    assert [one["output"].tolist() for one in found] == [[[0, 0, 0]], [[0, 0, 0]]]
