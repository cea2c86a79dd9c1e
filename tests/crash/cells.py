"""The cells of the crash matrix: a mode, a number of ranks, a point, and whom to kill there."""

import itertools
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from airloom.jobs.states import SUCCEEDED
from airloom.settings import Settings
from airloom.stack.airflow_api import AirflowApi
from crash import outside, points
from crash.play import Play
from crash.points import Point

VICTIMS: dict[str, Callable[[Play], int]] = {
    "task": lambda play: play.task_pid(),
    "supervisor": lambda play: outside.parent(play.task_pid() or 0),
    "scheduler": lambda play: outside.part(play.settings, "airflow-scheduler"),
    "triggerer": lambda play: outside.part(play.settings, "airflow-triggerer"),
    "job's supervisor": points.supervisor,
    "job": points.job,
    "rank 0": lambda play: play.rank_pid(0),
    "rank 1": lambda play: play.rank_pid(1),
}
AIRFLOW, SERVICES, OURS = (
    ("task", "supervisor", "scheduler", "triggerer"),
    ("scheduler", "triggerer"),
    ("job's supervisor", "job"),
)
RANKS = (*OURS, "rank 0", "rank 1")


@dataclass(frozen=True)
class Cell:
    """One crash."""

    mode: str
    ranks: int
    point: str
    victim: str

    def __str__(self) -> str:
        return "-".join((self.mode, str(self.ranks), self.point, self.victim)).replace(" ", "_").replace("'", "")

    @property
    def place(self) -> Point:
        """Where to be; the end is a different moment for each who sees it."""
        if self.point != "finish":
            return {
                "before submit": points.BEFORE_SUBMIT,
                "after submit": points.AFTER_SUBMIT,
                "launch": points.LAUNCH,
                "first heartbeat": points.RANKS_BEAT if self.ranks > 1 else points.HEARTBEAT,
                "mid-epoch": points.MID_EPOCH,
                "saving": points.SAVING,
                "poll": points.POLL,
            }[self.point]
        if self.victim == "job's supervisor":
            return points.FINISH_OF_SUPERVISOR
        if self.victim not in AIRFLOW:
            return points.FINISH_OF_JOB
        if self.mode == "in_place":
            return points.FINISH_IN_PLACE
        return points.FINISH_DEFERRED if self.victim in SERVICES else points.RESUME


def _cells() -> list[Cell]:
    running = ("first heartbeat", "mid-epoch", "saving")
    table = [
        ("in_place", 1, ("before submit", "after submit"), AIRFLOW),
        ("in_place", 1, ("launch", *running, "poll", "finish"), (*AIRFLOW, *OURS)),
        ("deferred", 1, ("before submit", "after submit"), AIRFLOW),
        ("deferred", 1, ("launch", *running, "poll"), (*SERVICES, *OURS)),
        ("deferred", 1, ("finish",), (*AIRFLOW, *OURS)),
        ("deferred", 2, ("launch",), OURS),
        ("deferred", 2, (*running, "finish"), RANKS),
    ]
    return [Cell(mode, ranks, p, v) for mode, ranks, places, victims in table for p in places for v in victims]


CELLS = _cells()


def crash(settings: Settings, api: AirflowApi, cell: Cell, sign: signal.Signals = signal.SIGKILL) -> dict[str, Any]:
    """Play one cell; what was seen of it.

    Raises:
        NotReached: the training did not come to the point.
        Gone: whom to kill is not there.
    """
    play = Play(settings, api, cell.mode, cell.ranks)
    with points.standing_at(play, cell.place) as actor:
        before = play.newest()
        steps, job = play.steps_done(), points.job(play) if before else 0
        victim = outside.Victim(VICTIMS[cell.victim](play))
        if victim.pid != actor.pid:
            # Let go first: when a scheduler dies over a task that stands still, the kernel hangs the task up.
            actor.send(signal.SIGCONT)
        victim.send(sign)
    seen = victim.ended()
    ended = play.end()
    attempts = play.attempts()
    return {
        "cell": cell,
        "at": f"{steps} steps" if steps else (before.state if before else "no attempt"),
        "pid": victim.pid,
        "signal": seen,
        "job": job,
        "run": ended,
        "tries": play.task().get("try_number"),
        "attempts": [attempt.state for attempt in attempts],
        "jobs": [attempt.pid for attempt in attempts],
        "apart": all(a.ended <= b.submitted for a, b in itertools.pairwise(attempts)),
        "succeeded": [attempt.state for attempt in attempts].count(SUCCEEDED),
        **play.mlflow(),
    }


def problems(seen: dict[str, Any], undisturbed: dict[str, Any]) -> list[str]:
    """What the cell does not hold."""
    cell, found = seen["cell"], []
    wanted = undisturbed["steps"]
    if seen["signal"] not in ("SIGKILL", "gone"):
        found.append(f"the victim was not killed: {seen['signal']}")
    if seen["run"] != "success":
        found.append(f"the run is {seen['run']}")
    if seen["succeeded"] != 1 or seen["attempts"][-1:] != [SUCCEEDED]:
        found.append(f"attempts {seen['attempts']}")
    if not seen["apart"]:
        found.append("two attempts lived at once")
    if len(seen["attempts"]) > 2:
        found.append(f"{len(seen['attempts'])} attempts for one crash")
    if cell.victim in AIRFLOW and seen["job"] and seen["jobs"] != [seen["job"]]:
        found.append(f"the job {seen['job']} was not kept: {seen['jobs']}")
    if seen["runs"] != (1, 1) or seen["models"] != 1:
        found.append(f"MLflow has {seen['runs'][0]} parents, {seen['runs'][1]} trainings, {seen['models']} models")
    if missing := sorted(set(wanted) - set(seen["steps"])):
        found.append(f"steps missing: {missing}")
    if len(seen["steps"]) != len(set(seen["steps"])):
        found.append("steps doubled")
    if len(wanted) < 30:
        found.append(f"the training has {len(wanted)} steps only")
    if seen["weights"] != undisturbed["weights"]:
        found.append("other weights")
    return found


HEAD = (
    "mode",
    "ranks",
    "point",
    "killed",
    "at",
    "pid",
    "signal seen",
    "attempts",
    "MLflow",
    "steps missing / doubled",
    "weights",
    "",
)


def row(seen: dict[str, Any], undisturbed: dict[str, Any]) -> tuple[str, ...]:
    """A line of the table."""
    cell, wrong, steps = seen["cell"], problems(seen, undisturbed), seen["steps"]
    missing, doubled = len(set(undisturbed["steps"]) - set(steps)), len(steps) - len(set(steps))
    return (
        cell.mode.replace("_", " "),
        str(cell.ranks),
        cell.point,
        cell.victim,
        seen["at"],
        str(seen["pid"]),
        seen["signal"],
        ", ".join(seen["attempts"]),
        f"{seen['runs'][1]} run, {seen['models']} model",
        f"{missing} / {doubled}",
        "equal" if seen["weights"] == undisturbed["weights"] else "OTHER",
        "; ".join(wrong) or "PASS",
    )
