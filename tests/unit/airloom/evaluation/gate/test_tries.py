"""The count of tries, in a real SQLite, from several processes' worth of threads at once."""

import threading

from airloom.evaluation.gate.tries import count
from airloom.settings import Settings


def test_a_candidate_keeps_its_number_and_a_split_begins_at_one(tmp_path):
    settings = Settings(home=tmp_path)
    assert [count(settings, "m", "s", [name]).first for name in ("a", "b", "a", "c")] == [1, 2, 1, 3]
    assert count(settings, "m", "t", ["a"]).first == 1
    assert count(settings, "other", "s", ["z"]).first == 1
    together = count(settings, "m", "s", ["d", "e", "f"])
    assert (together.first, together.last) == (4, 6)
    assert count(settings, "m", "s", ["d", "e", "f"]) == together


def test_gates_at_once_take_different_numbers(tmp_path):
    settings, numbers = Settings(home=tmp_path), []
    barrier = threading.Barrier(8)

    def one(name: str) -> None:
        barrier.wait()
        numbers.append(count(settings, "m", "s", [name]).first)

    threads = [threading.Thread(target=one, args=(f"c{at}",)) for at in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == list(range(1, 9))
