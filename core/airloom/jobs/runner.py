"""Submit a step and wait for it: what `airloom run` and tests do."""

from typing import Any

from airloom.jobs.spec import JobSpec
from airloom.jobs.submit import submit
from airloom.jobs.wait import OnLine, value, wait_or_cancel
from airloom.settings import Settings


def run_job(settings: Settings, key: str, spec: JobSpec, *, on_line: OnLine | None = None) -> dict[str, Any]:
    """Run a job to its end and return its value; called again after it went well, it returns the same value.

    Raises:
        JobFailed: the step failed, the process died, or a limit was broken; `log` is the log's path.
    """
    return value(wait_or_cancel(settings, submit(settings, key, spec), on_line))
