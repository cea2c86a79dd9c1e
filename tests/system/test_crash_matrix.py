"""SIGKILL of every process at every point of a training under the running scheduler; see tests/crash."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from crash import cells, outside, points
from crash.play import Play

from airloom.stack import control
from airloom.stack.airflow_api import AirflowApi

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]
PROJECT = Path(__file__).resolve().parents[2]
REPORT = PROJECT / "docs" / "acceptance" / "crash-matrix.md"


@pytest.fixture(scope="module")
def airflow(airloom) -> Iterator[AirflowApi]:
    """The API, when Airflow knows the test's DAGs."""
    shutil.copytree(PROJECT / "tests" / "crash" / "project", airloom.project / "crash")
    shutil.copy(airloom.project / "crash" / "dags.py", airloom.project / "dags" / "crash_matrix.py")
    with AirflowApi(airloom.settings) as api:
        until = time.monotonic() + 120
        while not _known(api) and time.monotonic() < until:
            time.sleep(1)
        assert api.import_errors() == []
        yield api
    (airloom.project / "dags" / "crash_matrix.py").unlink()


def _known(api: AirflowApi) -> bool:
    found = api._all("/api/v2/dags", "dags", "dag_id")
    return len([dag for dag in found if dag["dag_id"].startswith("crash_")]) == 3


@pytest.fixture(scope="module")
def undisturbed(airloom, airflow):
    """Steps and weights of a training that nobody disturbs, by its number of ranks."""
    found = {}

    def play(ranks: int) -> dict:
        if ranks not in found:
            once = Play(airloom.settings, airflow, "in_place", ranks)
            assert once.end() == "success"
            found[ranks] = once.mlflow()
        return found[ranks]

    return play


@pytest.fixture(scope="module")
def table(request) -> Iterator[list]:
    """The rows; printed, and after a whole matrix kept."""
    rows: list[tuple[str, ...]] = []
    yield rows
    lines = [" | ".join(row) for row in (cells.HEAD, *rows)]
    print("\n".join(lines))
    if len(rows) == len(cells.CELLS):
        _keep(rows)


def _keep(rows: list[tuple[str, ...]]) -> None:
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=PROJECT, capture_output=True, text=True, check=True
    ).stdout
    passed = [row[-1] for row in rows].count("PASS")
    lines = [
        "# The crash matrix",
        "",
        f"`make test-full` at commit {commit.strip()}, {os.cpu_count()} CPUs: {passed} of {len(rows)} cells PASS.",
        "Each cell is a training of its own under the running scheduler. At the point, whoever is about to go on is",
        "stopped, the point is looked at again, and the victim gets a SIGKILL from another process.",
        "",
    ]
    for row in (cells.HEAD, ["---"] * len(cells.HEAD), *rows):
        lines.append(f"| {' | '.join(row)} |")
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text("\n".join(lines) + "\n")


@pytest.mark.matrix("cell", cells.CELLS, sample=5, ids=str)
def test_a_kill_at_a_point_changes_nothing_but_the_time(airloom, airflow, undisturbed, table, cell) -> None:
    wanted = undisturbed(cell.ranks)
    try:
        seen = cells.crash(airloom.settings, airflow, cell)
    except (points.NotReached, outside.Gone) as error:
        table.append((cell.mode, str(cell.ranks), cell.point, cell.victim, *[""] * 7, f"NOT REACHED: {error}"))
        raise
    finally:
        control.wait_healthy(airloom.settings, print, 120)
    table.append(cells.row(seen, wanted))
    assert cells.problems(seen, wanted) == [], table[-1]
