"""Work ahead of the consumer: in order, where it pays, and gone when the consumer is."""

import gc
import threading
import time

import pytest

from airloom.datasets.reading.prefetch import in_threads


def ours():
    return [thread for thread in threading.enumerate() if thread.name.startswith("airloom-prefetch")]


def ended():
    deadline = time.monotonic() + 10
    while ours() and time.monotonic() < deadline:
        time.sleep(0.01)
    return not ours()


@pytest.mark.parametrize("pause", [0, 0.001])
@pytest.mark.parametrize(("ahead", "threads"), [(0, 1), (0, 3), (1, 1), (1, 4), (3, 2), (16, 1), (16, 4), (64, 1)])
def test_results_come_in_order_and_all(ahead, threads, pause):
    for count in (0, 1, 2, 60):
        found = []
        for result in in_threads(range(count), lambda job: job * 2, ahead, threads):
            time.sleep(pause)
            found.append(result)
        assert found == [2 * job for job in range(count)]
    assert ended()


def test_a_busy_consumer_finds_the_next_results_made_already():
    made = []
    for number, _ in enumerate(in_threads(range(30), made.append, 4, 1)):
        time.sleep(0.01)
        if 2 <= number < 25:
            deadline = time.monotonic() + 10
            while len(made) < number + 2 and time.monotonic() < deadline:
                time.sleep(0.01)
            assert number + 1 < len(made) <= number + 1 + 8
    assert ended()


def test_a_consumer_that_only_waits_gets_the_work_done_in_its_own_thread():
    where = []
    for number, name in enumerate(in_threads(range(300), work_of_a_millisecond, 16, 1)):
        where.append(name)
        time.sleep(0.003 if 100 <= number < 150 else 0)
    mine = [name == threading.current_thread().name for name in where]
    # Not all of them: on a busy machine a pause may look like work of the consumer for a while.
    assert sum(mine[:100]) > 50 and sum(mine[110:150]) < 20 and sum(mine[200:]) > 50


def work_of_a_millisecond(job):
    time.sleep(0.001)
    return threading.current_thread().name


def test_several_threads_work_at_once():
    meet = threading.Barrier(3, timeout=30)  # none of the first three jobs ends before all are in work
    assert len(list(in_threads(range(9), lambda job: meet.wait() if job < 3 else job, 9, 3))) == 9


@pytest.mark.parametrize("pause", [0, 0.003])
@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_arrives_after_the_results_before_it(threads, pause):
    def work(job):
        if job == 13:
            raise ValueError("job 13")
        return job

    found = []
    with pytest.raises(ValueError, match="job 13"):
        for result in in_threads(range(40), work, 16, threads):
            time.sleep(pause)
            found.append(result)
    assert found == list(range(13))
    assert ended()


@pytest.mark.parametrize("how", ["break", "close", "drop", "raise"])
def test_the_threads_end_with_the_consumer(how):
    def consume():
        batches = in_threads(range(10**9), lambda job: job, 16, 2)
        for result in batches:
            if result == 20:
                assert ours()
                if how == "close":
                    batches.close()
                if how == "raise":
                    raise KeyError("from the consumer")
                break

    if how == "raise":
        with pytest.raises(KeyError):
            consume()
    else:
        consume()
    gc.collect()
    assert ended()
