"""Whose fault the end of a trial was, and what becomes of its slot. Decides only; see `airloom.tuning.worker.lane`."""

import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airloom.spec.pipeline import Pipeline
from airloom.tracking.tags import Tag
from airloom.tuning.slots import Slot

if TYPE_CHECKING:
    from airloom.tuning.worker.recorder import Entry

AGAIN = 2  # deaths without a step forward after which other parameters are drawn
_OUTSIDE = (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP)


@dataclass(frozen=True)
class Verdict:
    """What is to happen.

    Attributes:
        fault: it counts as the trial's own failure, else as preempted.
        keep: the slot goes on with the same parameters, from the checkpoint.
        reason: for people.
    """

    fault: bool
    keep: bool
    reason: str


def judge(slot: Slot, ended: dict[str, Any], moved: bool) -> Verdict:
    """Tell a preempted trial from a failing one.

    A trial that raised has failed: the same parameters would raise again. A process that was killed from outside was
    preempted as long as it got on; the out-of-memory killer cannot be told from a person, so one that was killed
    without a step forward may have been the cause itself. A process that crashed (SIGSEGV, exit code) has failed, but
    may try again.

    Args:
        slot: as reserved.
        ended: `end` (failed, died, stopped, unusable), `error`, and of one that died its `code`.
        moved: it reported a step that no attempt before it had reached.
    """
    how, error = ended["end"], str(ended.get("error", ""))
    if how in ("stopped", "unusable"):
        return Verdict(fault=False, keep=True, reason=f"preempted: {error}")
    if how == "failed":
        return Verdict(fault=True, keep=False, reason=error)
    if ended["code"] in _OUTSIDE and moved:
        return Verdict(fault=False, keep=True, reason=f"preempted: its process {error}")
    hint = " (often: out of memory)" if ended["code"] == -signal.SIGKILL else ""
    return Verdict(
        fault=True,
        keep=slot.again + 1 < AGAIN,
        reason=f"its process {error}{hint}, without a step forward"
        if ended["code"] in _OUTSIDE
        else f"its process {error}",
    )


def broken(pipeline: Pipeline, memory: int, seconds: float) -> str:
    """Which limit a trial breaks; empty for none.

    Args:
        pipeline: has the limits.
        memory: bytes that its process uses.
        seconds: since this attempt of it began.
    """
    most = int(pipeline.resources.memory) // pipeline.tune.lanes
    if most and memory > most:
        return f"memory: it used {memory / 2**20:.0f} of {most / 2**20:.0f} MiB; raise resources.memory"
    if seconds > pipeline.resources.time:
        return f"wall time: its {pipeline.resources.time:g} s are over; raise resources.time"
    return ""


def describe(entry: "Entry", samples: int = 0, loop_seconds: float = 0.0) -> None:
    """State and cost of a finished trial, for MLflow."""
    slot = entry.slot
    entry.tags |= {Tag.STATE: slot.state}
    entry.metrics |= {
        "cost.device_seconds": slot.seconds + slot.lost,
        "cost.cpu_seconds": slot.cpu_seconds,
        "cost.peak_memory_bytes": float(slot.peak_memory),
        "preempted": float(slot.preempted),
    }
    if samples and loop_seconds:
        entry.metrics["cost.samples_per_second"] = samples / loop_seconds
