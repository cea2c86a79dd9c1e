"""`make crash-matrix`: every cell of the matrix on a stack of its own; keeps docs/acceptance/crash-matrix.md.

`python -m crash.matrix TEXT…` plays only the cells whose names hold one of the texts. Ctrl-C ends after the cell at
hand; the next `make crash-matrix` plays those that did not pass yet, as long as the code is the same.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from airloom.datasets.commit import commit
from airloom.demo.digits import load_digits
from airloom.settings import Settings
from airloom.stack import control
from airloom.stack.airflow_api import AirflowApi
from crash import cells, outside, points
from crash.play import Play

PROJECT = Path(__file__).resolve().parents[2]
REPORT = PROJECT / "docs" / "acceptance" / "crash-matrix.md"
PLAYED = PROJECT / ".cache" / "crash-matrix.jsonl"
CODE = ("core", "operators", "tests/crash")
Baseline = Callable[[int], dict[str, Any]]


def main(texts: list[str]) -> int:
    """Play what is left; 1 where a cell does not hold."""
    wanted = [cell for cell in cells.CELLS if not texts or any(text in str(cell) for text in texts)]
    code = _code()
    kept = {} if texts else _played(code)
    left = [cell for cell in wanted if str(cell) not in kept]
    print(f"{len(wanted)} cells, {len(left)} of them to play", flush=True)
    over: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: over.append(number))
    if left:
        with stack() as (settings, api):
            baseline = undisturbed(settings, api)
            while left and not over:
                cell = left.pop(0)
                kept[str(cell)] = play(settings, api, baseline, cell)[0]
                print(" | ".join(kept[str(cell)]), flush=True)
                _note(code, str(cell), kept[str(cell)])
    rows = [kept[str(cell)] for cell in wanted if str(cell) in kept]
    if not left and not texts:
        keep(rows)
    return int(bool(left) or any(row[-1] != "PASS" for row in rows))


# -- the stack


@contextmanager
def stack() -> Iterator[tuple[Settings, AirflowApi]]:
    """A started stack with some digits, and the crash DAGs alone."""
    with tempfile.TemporaryDirectory(prefix="airloom crash ") as folder:
        settings = Settings(home=Path(folder) / "a home", project=Path(folder) / "a project")
        shutil.copytree(PROJECT / "configs", settings.project / "configs")
        (settings.project / "dags").mkdir()
        install(settings.project)
        commit(settings, "digits", load_digits().first, message="the first digits")
        try:
            control.up(settings, print)
            with AirflowApi(settings) as api:
                await_dags(api)
                yield settings, api
        finally:
            control.down(settings, print)


def install(project: Path) -> None:
    """Lay the matrix's pipelines and DAGs into a project."""
    shutil.copytree(PROJECT / "tests" / "crash" / "project", project / "crash")
    shutil.copy(project / "crash" / "dags.py", project / "dags" / "crash_matrix.py")


def await_dags(api: AirflowApi) -> None:
    """Return when Airflow knows the three DAGs."""
    until = time.monotonic() + 120
    while sum(dag["dag_id"].startswith("crash_") for dag in api._all("/api/v2/dags", "dags", "dag_id")) < 3:
        assert time.monotonic() < until, api.import_errors()
        time.sleep(1)


# -- playing


def undisturbed(settings: Settings, api: AirflowApi) -> Baseline:
    """Steps and weights of a training that nobody disturbs, by its number of ranks."""
    found: dict[int, dict[str, Any]] = {}

    def baseline(ranks: int) -> dict[str, Any]:
        if ranks not in found:
            once = Play(settings, api, "in_place", ranks)
            ended = once.end()
            assert ended == "success", f"the undisturbed run {once.run}: {ended}, {once.attempts()}"
            found[ranks] = once.mlflow()
        return found[ranks]

    return baseline


def play(
    settings: Settings, api: AirflowApi, baseline: Baseline, cell: cells.Cell
) -> tuple[tuple[str, ...], list[str]]:
    """The cell's line of the table, and what it does not hold; then the stack is whole again."""
    wanted = baseline(cell.ranks)
    began = time.monotonic()
    try:
        seen = cells.crash(settings, api, cell)
    except (points.NotReached, outside.Gone) as error:
        wrong = f"NOT REACHED: {type(error).__name__} {error}"
        head = (cell.mode.replace("_", " "), str(cell.ranks), cell.point, cell.victim)
        return (*head, *[""] * (len(cells.HEAD) - len(head) - 1), wrong), [wrong]
    finally:
        control.wait_healthy(settings, lambda _: None, 120)
    seen["seconds"] = time.monotonic() - began
    return cells.row(seen, wanted), cells.problems(seen, wanted)


# -- what was played


def _code() -> str:
    """What the cells are about: another code is another matrix."""
    return " ".join(_git("rev-parse", *(f"HEAD:{folder}" for folder in CODE)).split())


def _played(code: str) -> dict[str, tuple[str, ...]]:
    """Cells that this code has played already and holds."""
    lines = PLAYED.read_text().splitlines() if PLAYED.exists() else []
    found = [entry for entry in map(json.loads, lines) if entry["code"] == code]
    return {entry["cell"]: tuple(entry["row"]) for entry in found if entry["row"][-1] == "PASS"}


def _note(code: str, cell: str, row: tuple[str, ...]) -> None:
    PLAYED.parent.mkdir(exist_ok=True)
    with PLAYED.open("a") as file:
        file.write(json.dumps({"code": code, "cell": cell, "row": row}) + "\n")


def keep(rows: list[tuple[str, ...]]) -> None:
    """Write the table where people read it."""
    passed = [row[-1] for row in rows].count("PASS")
    dirty = " (with changes that are not committed)" if _git("status", "--porcelain", "--", *CODE) else ""
    lines = [
        "# The crash matrix",
        "",
        f"`make crash-matrix` at commit {_git('rev-parse', 'HEAD')}{dirty}, {os.cpu_count()} CPUs: "
        f"{passed} of {len(rows)} cells PASS.",
        "Each cell is a training of its own under the running scheduler. At the point, whoever is about to go on is",
        "stopped, the point is looked at again, and the victim gets a SIGKILL from another process.",
        "",
        *(f"| {' | '.join(row)} |" for row in (cells.HEAD, ["---"] * len(cells.HEAD), *rows)),
    ]
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text("\n".join(lines) + "\n")


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=PROJECT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
