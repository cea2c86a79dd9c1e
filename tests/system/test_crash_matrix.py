"""SIGKILL of every process at every point of a training under the running scheduler; see tests/crash."""

from collections.abc import Iterator

import pytest
from crash import cells, matrix

# With --full only: two minutes a cell. `make test` kills jobs and ranks in training/checkpointing/test_resume.py,
# and ends their processes through Airflow in test_jobs.py; make accept NAME=jobs plays six cells.
pytestmark = [pytest.mark.system, pytest.mark.timeout(900, func_only=True), pytest.mark.long]


@pytest.fixture(scope="module")
def table() -> Iterator[list[tuple[str, ...]]]:
    """The rows; printed, and after a whole matrix kept."""
    rows: list[tuple[str, ...]] = []
    yield rows
    print("\n".join(" | ".join(row) for row in (cells.HEAD, *rows)))
    if len(rows) == len(cells.CELLS):
        matrix.keep(rows)


@pytest.mark.parametrize("cell", cells.CELLS, ids=str)
def test_a_kill_at_a_point_changes_nothing_but_the_time(airloom, airflow, undisturbed, table, cell) -> None:
    row, problems = matrix.play(airloom.settings, airflow, undisturbed, cell)
    table.append(row)
    assert problems == [], row
