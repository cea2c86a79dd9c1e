"""The named points of a training, and how to be there: watch, stop who is about to go on, look again."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from airloom.jobs import processes
from airloom.jobs.states import LAUNCHING, QUEUED, RUNNING, SUCCEEDED
from crash import outside
from crash.play import LIMIT, Play

EPOCH = 10  # steps of an epoch, about: 180 rows in batches of 18


class NotReached(Exception):
    """The training went by this point, or never came there."""


@dataclass(frozen=True)
class Point:
    """A place in a training.

    Attributes:
        actor: pid of the process that is about to leave the point; 0 while it is not there.
        near: whether the training is about there; asked as often as possible.
        gone: whether it went by; then there is nothing more to wait for.
        here: whether it is exactly there; asked when the actor stands still. The default is `near`.
    """

    actor: Callable[[Play], int]
    near: Callable[[Play], bool]
    gone: Callable[[Play], bool]
    here: Callable[[Play], bool] | None = None


@contextlib.contextmanager
def standing_at(play: Play, point: Point) -> Iterator[outside.Victim]:
    """The training stands at the point until the block ends, as the process that is given stands still.

    Raises:
        NotReached: it does not come there, or went by.
    """
    here, until = point.here or point.near, time.monotonic() + LIMIT
    while time.monotonic() < until:
        with contextlib.suppress(outside.Gone), contextlib.ExitStack() as stack:
            if point.near(play) and (pid := point.actor(play)):
                actor = stack.enter_context(outside.stopped(pid))
                if here(play):
                    yield actor
                    return
        if point.gone(play):
            break
    seen = f"attempts {[a.state for a in play.attempts()]}, {play.steps_done()} steps, task {play.task().get('state')}"
    raise NotReached(seen)


def supervisor(play: Play) -> int:
    """Pid of our supervisor of the newest attempt."""
    newest = play.newest()
    return (newest.owner or processes.supervisor_of(newest.path)) if newest else 0


def job(play: Play) -> int:
    """Pid of the job's first process: the child of its supervisor."""
    newest = play.newest()
    if newest and newest.pid:
        return newest.pid
    owner = supervisor(play)
    return next((pid for pid in processes.marked(newest.path) if outside.parent(pid) == owner), 0) if newest else 0


def waiter(play: Play) -> int:
    """Who polls for the job: the task in place, else the triggerer."""
    return play.task_pid() if play.dag == "crash_in_place" else outside.part(play.settings, "airflow-triggerer")


def _state(play: Play) -> str:
    newest = play.newest()
    return newest.state if newest else ""


def _ended(play: Play) -> bool:
    return _state(play) not in ("", QUEUED, LAUNCHING, RUNNING)


def _begun(play: Play) -> bool:
    """The supervisor said more than that it began: its next beat came."""
    newest = play.newest()
    return bool(newest and newest.state == RUNNING and newest.heartbeat - newest.started > 1.5)


def _waits(play: Play) -> bool:
    return play.task().get("state") == ("running" if play.dag == "crash_in_place" else "deferred")


def _saw(play: Play) -> int:
    """The task's pid; once it is known, Airflow is not asked again, as that takes longer than some points last."""
    return play.pid or play.task_pid()


BEFORE_SUBMIT = Point(Play.task_pid, lambda p: not p.newest(), lambda p: bool(p.newest()))
AFTER_SUBMIT = Point(
    _saw,
    lambda p: bool(_saw(p)) and _state(p) in (QUEUED, LAUNCHING),
    lambda p: _state(p) not in ("", QUEUED, LAUNCHING),
)
LAUNCH = Point(
    supervisor, lambda p: _state(p) == LAUNCHING and bool(job(p)), lambda p: _state(p) not in ("", QUEUED, LAUNCHING)
)
HEARTBEAT = Point(supervisor, lambda p: _begun(p) and not p.steps_done(), lambda p: p.steps_done() > 0)
RANKS_BEAT = Point(
    supervisor, lambda p: _begun(p) and not p.steps_done() and bool(p.rank_pid(1)), lambda p: p.steps_done() > 0
)
MID_EPOCH = Point(
    lambda p: p.rank_pid(0),
    lambda p: p.steps_done() > EPOCH and p.steps_done() % EPOCH in range(3, 8) and p.checkpoints() > 0,
    Play.result,
)
SAVING = Point(lambda p: p.rank_pid(0), lambda p: p.steps_done() > 3 and p.saving(), Play.result)
POLL = Point(waiter, lambda p: _state(p) == RUNNING and p.steps_done() > 1 and _waits(p), Play.result)
FINISH_OF_JOB = Point(lambda p: p.rank_pid(0), lambda p: p.result() and outside.alive(p.rank_pid(0)), _ended)
FINISH_OF_SUPERVISOR = Point(supervisor, lambda p: p.result() and _state(p) == RUNNING, _ended)
FINISH_IN_PLACE = Point(
    _saw,
    lambda p: bool(_saw(p)) and _state(p) == SUCCEEDED,
    lambda p: p.task().get("state") == "success",
    lambda p: p.task().get("state") == "running",
)
FINISH_DEFERRED = Point(
    waiter,
    lambda p: _state(p) == SUCCEEDED and _waits(p),
    lambda p: p.task().get("state") not in ("deferred", "running"),
)
RESUME = Point(Play.task_pid, lambda p: _state(p) == SUCCEEDED, lambda p: p.task().get("state") == "success")
