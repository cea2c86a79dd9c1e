"""Whether the task of a job still wants it, by the state of the task in Airflow."""

from typing import Any

from airloom.jobs.states import Attempt

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
