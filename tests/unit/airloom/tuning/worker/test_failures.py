"""A preempted trial is told apart from a failing one."""

import dataclasses
import signal

import pytest

from airloom.tuning.slots import TAKEN, Slot
from airloom.tuning.worker.failures import broken_limit, judge
from airloom.tuning.worker.messages import End, TrialEnd

SLOT = Slot("s", 0, TAKEN, 1, "o", 0, 3, {}, 0, 0, 0, 0, 4, None, 0, 0, 0, 0, "", 0)


def died(how):
    return TrialEnd(End.DIED, error=f"was killed by {how.name}", code=-how)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_killed_from_outside_after_a_step_is_preempted(how):
    found = judge(SLOT, died(how), moved=True)
    assert (found.fault, found.keep) == (False, True)
    assert found.reason.startswith("preempted")


def test_killed_again_and_again_without_a_step_forward_is_a_failure_and_then_gets_other_parameters():
    first = judge(SLOT, died(signal.SIGKILL), moved=False)
    assert (first.fault, first.keep) == (True, True)
    assert "often: out of memory" in first.reason
    second = judge(dataclasses.replace(SLOT, again=1), died(signal.SIGKILL), moved=False)
    assert (second.fault, second.keep) == (True, False)


@pytest.mark.parametrize("how", [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS])
def test_a_crash_is_a_failure_also_after_a_step(how):
    assert judge(SLOT, died(how), moved=True).fault
    assert judge(SLOT, TrialEnd(End.DIED, error="ended with exit code 3", code=3), moved=True).fault


def test_what_raised_begins_anew_and_what_was_stopped_goes_on():
    raised = judge(SLOT, TrialEnd(End.FAILED, error="no such layer"), moved=True)
    assert (raised.fault, raised.keep, raised.reason) == (True, False, "no such layer")
    stopped = judge(SLOT, TrialEnd(End.STOPPED, error="on request"), moved=False)
    assert (stopped.fault, stopped.keep) == (False, True)


def test_limits_are_those_of_a_trial(make):
    pipeline = make(resources={"memory": "1GiB", "time": 60})
    assert broken_limit(pipeline, 2**30, 59) == ""
    assert broken_limit(pipeline, 2**30 + 1, 1).startswith("memory: it used 1024 of 1024 MiB")
    assert broken_limit(pipeline, 0, 61).startswith("wall time: its 60 s are over")
    shared = make(resources={"memory": "1GiB", "devices": 1}, share=0.5)
    assert broken_limit(shared, 600 * 2**20, 1).startswith("memory: it used 600 of 512 MiB")
