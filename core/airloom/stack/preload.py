"""What the scheduler loads once, so that no task has to.

LocalExecutor's workers, and with them every task, are forked from the scheduler. The light steps talk to MLflow and
Optuna, whose import takes two seconds of CPU: without this, each of them would pay it again. Only libraries stand here,
never Airloom's own modules, so that a task always runs the code that is on disk.
"""

import importlib
from pathlib import Path

from airloom.files import write_private

LIBRARIES = ("mlflow", "mlflow.tracking", "optuna", "optuna.storages", "pyarrow", "sqlalchemy.orm", "httpx", "yaml")
HOOK = '''"""Written by `airloom up`. Airflow reads it when one of its processes starts."""

import sys

if "scheduler" in sys.argv:
    from airloom.stack.preload import load

    load()
'''


def load() -> None:
    """Import the libraries into this process."""
    for name in LIBRARIES:
        importlib.import_module(name)


def install(airflow_home: Path) -> None:
    """Make Airflow's scheduler call `load` when it starts."""
    write_private(airflow_home / "config" / "airflow_local_settings.py", HOOK)
