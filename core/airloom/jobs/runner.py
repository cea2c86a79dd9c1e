"""Submit a step and wait for it: what `airloom run` and tests do."""

from typing import Any

from airloom.jobs.spec import JobSpec
from airloom.jobs.submit import submit
from airloom.jobs.wait import OnLine, value, wait_or_cancel, was_killed
from airloom.settings import Settings


def run_job(
    settings: Settings,
    key: str,
    spec: JobSpec,
    *,
    on_line: OnLine | None = None,
    generation: int = 0,
    losses: int = 0,
) -> dict[str, Any]:
    """Run a job to its end and return its value; called again after it went well, it returns the same value.

    Args:
        settings: of this installation.
        key: of the job.
        spec: what it does.
        on_line: gets each line of its log.
        generation: a higher one than before starts it anew.
        losses: attempts that may be killed before it counts as failed.

    Raises:
        JobFailed: the step failed, the process died, or a limit was broken; `log` is the log's path.
    """
    while True:
        attempt = wait_or_cancel(settings, submit(settings, key, spec, generation=generation), on_line)
        losses -= 1
        if losses < 0 or attempt.stop or not was_killed(attempt):
            return value(attempt)
        if on_line:
            on_line(f"attempt {attempt.number} of {key}: {attempt.reason}; the next one goes on")
