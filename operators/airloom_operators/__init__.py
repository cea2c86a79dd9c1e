"""Airloom as an Airflow provider: one operator a step, an asset trigger, links; and `build_dags`."""

from typing import Any

__all__ = ["build_dags"]


def __getattr__(name: str) -> Any:
    """`build_dags`, when it is asked for: Airflow imports this package for less."""
    if name != "build_dags":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from airloom_operators.factory import build_dags

    return build_dags
