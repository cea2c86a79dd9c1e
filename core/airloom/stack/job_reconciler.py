"""Ends jobs that nobody waits for any more: `python -m airloom.stack.job_reconciler`, a process of the stack.

A task that waits in place cannot tell a shutdown from a person who marks or clears it: both are a SIGTERM. So it only
lets go of its job, and this process compares living jobs with the states of their tasks. A thread of it ends the MLflow
runs of pipeline runs; see `airloom.stack.run_endings`.
"""

import logging
import sys
import time
from pathlib import Path
from typing import Any

from airloom.errors import AirloomError, StackError
from airloom.jobs.states import Attempt
from airloom.jobs.submit import host, settle
from airloom.jobs.table import Attempts
from airloom.settings import Settings, load
from airloom.stack import run_endings
from airloom.stack.airflow_api import AirflowApi

log = logging.getLogger(__name__)
# Seconds between two looks. A running task that was cleared is `restarting` for little more than a second; any other
# state stays.
CLOSE, SELDOM = 0.7, 2.0
OVER = {"success": "was marked a success", "failed": "failed", "skipped": "was skipped", "removed": "was removed"}
OVER |= {"upstream_failed": "was marked", "restarting": "was cleared"}


def verdict(attempt: Attempt, task: dict[str, Any] | None) -> str:
    """Why a living job must end, in words; empty where its task still wants it.

    Args:
        attempt: with the generation in which it was submitted.
        task: the task instance as Airflow's API shows it, None where it is gone.
    """
    if task is None:
        return "its task is gone"
    if task["state"] in OVER:
        return f"its task {OVER[task['state']]}"
    if int(task.get("max_tries") or 0) > attempt.generation:
        return "its task was cleared"
    return ""


def once(table: Attempts, api: AirflowApi, home: Path) -> bool:
    """Compare the living jobs of this state folder with their tasks; whether one of these is running."""
    here = [a for a in table.alive() if a.task and a.host == host() and a.path.is_relative_to(home)]
    living = [attempt for attempt in here if (settle(table, attempt) or attempt).alive]
    places = {a.id: (a.task["dag"], a.task["run"], a.task["task"], a.task["map_index"]) for a in living}
    known = api.tasks_at(set(places.values())) if living else {}
    running = False
    for attempt in living:
        place = places[attempt.id]
        task = known.get(place) or api.task_or_none(*place)  # only its own address says that it is gone
        running |= bool(task and task["state"] == "running")
        reason = verdict(attempt, task)
        if reason and not attempt.cancel:
            log.info("%s attempt %d: %s", attempt.key, attempt.number, reason)
            table.change(attempt.id, cancel=reason)
    return running


def main() -> None:
    """Compare for ever; while Airflow is away nothing is ended."""
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # a line for each of its requests would fill the log
    settings: Settings = load()
    table, endings = Attempts(settings.database_address), run_endings.start(settings)
    while True:
        try:
            with AirflowApi(settings) as api:
                while True:
                    time.sleep(CLOSE if once(table, api, settings.home) else SELDOM)
                    if not endings.is_alive():  # of something that nobody foresaw; the log has it
                        endings = run_endings.start(settings)
        except StackError as error:
            log.warning("%s", error.message)
        except AirloomError as error:
            log.error("%s", error)
        time.sleep(SELDOM)


if __name__ == "__main__":
    main()
