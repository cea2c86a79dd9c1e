"""How the demo shows its progress: a live table on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

SIGNS = {
    "success": "✔",
    "failed": "✘",
    "skipped": "-",
    "running": "▶",
    "deferred": "▶",
    "up_for_retry": "↻",
    "upstream_failed": "✘",
}


class DemoView(Protocol):
    """What the scenario tells its spectator."""

    def log_line(self, line: str) -> None:
        """One line of progress."""

    def task(self, run: str, task: str, state: str, seconds: float | None) -> None:
        """A task of a pipeline run changed its state.

        Args:
            run: what the run is called.
            task: its name.
            state: the new one, as Airflow names it.
            seconds: how long the task has run; None before it began.
        """


class Lines:
    """Plain lines, each with the seconds since the start."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def log_line(self, line: str) -> None:
        """Print the line to standard error."""
        print(f"[{time.monotonic() - self._began:6.1f} s] {line}", file=sys.stderr, flush=True)

    def task(self, run: str, task: str, state: str, seconds: float | None) -> None:
        """Print the new state."""
        took = f" in {seconds:.1f} s" if seconds is not None and state == "success" else ""
        self.log_line(f"  {run}: {task} {state}{took}")


class Table:
    """A table of the pipeline runs under the lines, redrawn in place."""

    def __init__(self, live: object, lines: Lines) -> None:
        self._live, self._lines = live, lines
        self._runs: dict[str, dict[str, str]] = {}

    def log_line(self, line: str) -> None:
        """Print the line above the table."""
        self._lines.log_line(line)

    def task(self, run: str, task: str, state: str, seconds: float | None) -> None:
        """Redraw the table with the new state."""
        from rich.table import Table as RichTable

        took = f" {seconds:.0f} s" if seconds is not None else ""
        self._runs.setdefault(run, {})[task] = f"{SIGNS.get(state, '·')} {state}{took}"
        table = RichTable("task", *self._runs)
        for name in dict.fromkeys(name for states in self._runs.values() for name in states):
            table.add_row(name, *(states.get(name, "") for states in self._runs.values()))
        self._live.update(table)  # type: ignore[attr-defined] # rich.live.Live, imported late


@contextmanager
def live() -> Iterator[DemoView]:
    """The view that fits where standard error goes."""
    if not sys.stderr.isatty():
        yield Lines()
        return
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(stderr=True), refresh_per_second=4, redirect_stderr=True) as display:
        yield Table(display, Lines())
