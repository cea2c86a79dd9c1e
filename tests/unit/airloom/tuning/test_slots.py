"""The slots under any order of what workers do: never more than N, never two owners, none lost."""

import itertools
import threading
import time

import pytest
from hypothesis import settings as limits
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from airloom.tuning.slots import COMPLETE, FINISHED, FREE, PRUNED, TAKEN, Slots

COUNTER = itertools.count()


class Workers(RuleBasedStateMachine):
    """Some workers with one study; a model of it beside."""

    address = ""

    @initialize(trials=st.integers(1, 5))
    def begin(self, trials):
        self.slots, self.study, self.trials = Slots(self.address), f"s{next(COUNTER)}", trials
        self.slots.make(self.study, trials)
        self.held, self.finished, self.stale, self.faults = {}, {}, [], 0

    @rule()
    def reserve(self):
        slot = self.slots.reserve(self.study, "process:h:1:1", 0)
        free = self.trials - len(self.held) - len(self.finished)
        assert (slot is None) == (free == 0)
        if slot:
            assert slot.slot not in self.held
            assert slot.slot not in self.finished
            self.held[slot.slot] = slot

    @rule(data=st.data(), state=st.sampled_from(FINISHED))
    def finish(self, data, state):
        if self.held:
            slot = self.held.pop(data.draw(st.sampled_from(sorted(self.held))))
            assert self.slots.finish(slot, state)
            self.finished[slot.slot] = state
            self.stale.append(slot)

    @rule(data=st.data(), fault=st.booleans(), keep=st.booleans())
    def give_back(self, data, fault, keep):
        if self.held:
            slot = self.held.pop(data.draw(st.sampled_from(sorted(self.held))))
            self.slots.hold(slot, trial=7, parameters={"x": 1})
            assert self.slots.release(slot, "why", fault=fault, keep=keep)
            self.faults += fault
            self.stale.append(slot)
            kept = self.slots.all(self.study)[slot.slot]
            assert (kept.trial, kept.parameters) == ((7, {"x": 1}) if keep else (-1, None))

    @rule(data=st.data(), state=st.sampled_from(FINISHED))
    def a_late_owner_changes_nothing(self, data, state):
        if self.stale:
            slot = data.draw(st.sampled_from(self.stale))
            assert not self.slots.finish(slot, state)
            assert not self.slots.hold(slot, step=1)
            assert not self.slots.release(slot, "late", fault=True, keep=False)

    @rule(more=st.integers(0, 2))
    def extend(self, more):
        self.trials += more
        assert self.slots.make(self.study, self.trials) == self.trials
        assert self.slots.make(self.study, 1) == self.trials  # it never shrinks

    @invariant()
    def the_table_is_as_the_model(self):
        if not hasattr(self, "trials"):
            return
        tally = self.slots.tally(self.study)
        assert (tally.trials, tally.finished, tally.taken) == (self.trials, len(self.finished), len(self.held))
        assert tally.faults == self.faults
        assert tally.over == (len(self.finished) == self.trials)


def test_any_order_of_what_workers_do_keeps_the_slots_exact(tmp_path):
    Workers.address = f"sqlite:///{tmp_path / 'slots.db'}"
    case = Workers.TestCase
    case.settings = limits(max_examples=25, stateful_step_count=20, deadline=None)
    case().runTest()


def test_who_lost_its_slot_to_another_changes_nothing(tmp_path):
    slots = Slots(f"sqlite:///{tmp_path / 'slots.db'}")
    slots.make("s", 1)
    lost = slots.reserve("s", "process:h:1:1", 0)
    assert slots.release(lost, "its worker is gone", fault=False, keep=True)
    now = slots.reserve("s", "process:h:2:2", 1)
    assert not slots.hold(lost, step=9)
    assert not slots.finish(lost, COMPLETE)
    assert not slots.release(lost, "late", fault=True, keep=False)
    assert slots.all("s") == [now]


def test_of_many_workers_at_once_each_slot_has_one(database):
    slots, got, barrier = Slots(database), [], threading.Barrier(8)
    study = f"race{time.time_ns()}"
    slots.make(study, 20)

    def worker(number):
        mine = Slots(database)
        barrier.wait()
        while slot := mine.reserve(study, f"process:h:{number}:1", number):
            got.append(slot.slot)

    threads = [threading.Thread(target=worker, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == list(range(20))


def test_two_that_create_a_study_at_once_make_its_slots_once(database):
    study, made, barrier = f"twice{time.time_ns()}", [], threading.Barrier(4)

    def make():
        barrier.wait()
        made.append(Slots(database).make(study, 30))

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [30] * 4
    assert [slot.slot for slot in Slots(database).all(study)] == list(range(30))


def test_a_trial_to_go_on_with_comes_before_a_new_one(database):
    slots, study = Slots(database), f"order{time.time_ns()}"
    slots.make(study, 3)
    first, second = (slots.reserve(study, "process:h:1:1", 0) for _ in range(2))
    slots.hold(second, trial=5, parameters={})
    slots.release(second, "preempted", fault=False, keep=True)
    slots.release(first, "failed", fault=True, keep=False)
    assert slots.reserve(study, "process:h:2:1", 1).slot == second.slot
    assert slots.all(study, FREE)[0].tries == 1
    assert [slot.slot for slot in slots.all(study, TAKEN)] == [1]


def test_a_failed_study_is_reopened_once_and_forgets_its_failures(database):
    slots, study = Slots(database), f"failed{time.time_ns()}"
    slots.make(study, 2)
    slot = slots.reserve(study, "process:h:1:1", 0)
    slots.release(slot, "no", fault=True, keep=False)
    slots.fail(study, "first")
    slots.fail(study, "second")
    assert slots.tally(study).failed == "first"
    assert not slots.reopen(study, before=time.time() - 60)
    assert slots.reopen(study)
    assert not slots.reopen(study)
    assert (slots.tally(study).failed, slots.tally(study).faults) == ("", 0)


@pytest.mark.parametrize("state", [COMPLETE, PRUNED])
def test_a_finished_slot_whose_row_is_not_is_done_again(database, state):
    slots, study = Slots(database), f"renew{time.time_ns()}"
    slots.make(study, 1)
    slot = slots.reserve(study, "process:h:1:1", 0)
    slots.finish(slot, state)
    assert slots.renew(slot)
    assert slots.tally(study).finished == 0
    assert slots.reserve(study, "process:h:1:1", 0).token == slot.token + 1


def test_wall_time_counts_only_while_somebody_works(database, monkeypatch):
    slots, study, now = Slots(database), f"beat{time.time_ns()}", time.time()
    slots.make(study, 1)
    for passed in (0, 2, 4, 500, 502):
        monkeypatch.setattr(time, "time", lambda passed=passed: now + passed)
        slots.beat(study)
    assert slots.tally(study).seconds == pytest.approx(6, abs=0.1)
