"""Whose fault the end of a trial was, and what becomes of its slot. Decides only; see `airloom.tuning.worker.lane`."""

import signal
from dataclasses import dataclass

from airloom.spec.pipeline import Pipeline
from airloom.tuning.slots import Slot
from airloom.tuning.worker.messages import End, TrialEnd

AGAIN = 2  # deaths without a step forward after which other parameters are drawn
_OUTSIDE = (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP)


@dataclass(frozen=True)
class TrialVerdict:
    """What is to happen with the slot of a trial that was not finished.

    Attributes:
        fault: it counts as the trial's own failure, else as preempted.
        keep: the slot goes on with the same parameters, from the checkpoint.
        reason: for people.
    """

    fault: bool
    keep: bool
    reason: str


def judge(slot: Slot, ended: TrialEnd, moved: bool) -> TrialVerdict:
    """Tell a preempted trial from a failing one.

    A trial that raised has failed: the same parameters would raise again. A process that was killed from outside was
    preempted as long as it got on; the out-of-memory killer cannot be told from a person, so one that was killed
    without a step forward may have been the cause itself. A process that crashed (SIGSEGV, exit code) has failed, but
    may try again.

    Args:
        slot: as reserved.
        ended: failed, died, stopped or unusable.
        moved: it reported a step that no attempt before it had reached.
    """
    if ended.end in (End.STOPPED, End.UNUSABLE):
        return TrialVerdict(fault=False, keep=True, reason=f"preempted: {ended.error}")
    if ended.end == End.FAILED:
        return TrialVerdict(fault=True, keep=False, reason=ended.error)
    if ended.code in _OUTSIDE and moved:
        return TrialVerdict(fault=False, keep=True, reason=f"preempted: its process {ended.error}")
    reason = f"its process {ended.error}"
    if ended.code in _OUTSIDE:
        hint = " (often: out of memory)" if ended.code == -signal.SIGKILL else ""
        reason = f"{reason}{hint}, without a step forward"
    return TrialVerdict(fault=True, keep=slot.again + 1 < AGAIN, reason=reason)


def broken_limit(pipeline: Pipeline, memory: int, seconds: float) -> str:
    """Which limit a trial breaks; empty for none.

    Args:
        pipeline: has the limits.
        memory: bytes that its process uses.
        seconds: since this attempt of it began.
    """
    most = int(pipeline.resources.memory) // pipeline.study.lanes
    if most and memory > most:
        return f"memory: it used {memory / 2**20:.0f} of {most / 2**20:.0f} MiB; raise resources.memory"
    if seconds > pipeline.resources.time:
        return f"wall time: its {pipeline.resources.time:g} s are over; raise resources.time"
    return ""
