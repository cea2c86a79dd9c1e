"""Airflow's command in this stack: `python -m airloom.stack.airflow scheduler`.

Its secrets (the Fernet key, what signs tokens and sessions) get into its environment here, from `stack.json`: MLflow,
the model server and the supervisor never have them.
"""

import os
import sys

from airloom.settings import load
from airloom.stack.config import airflow_environment


def main(arguments: list[str]) -> None:
    """Become Airflow: the process stays the same, so that its supervisor can end it."""
    environment = os.environ | airflow_environment(load())
    os.execve(sys.executable, [sys.executable, "-m", "airflow", *arguments], environment)  # noqa: S606 - our own interpreter


if __name__ == "__main__":
    main(sys.argv[1:])
