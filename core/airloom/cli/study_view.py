"""How `airloom tune` shows a study: a live table on a terminal, plain lines elsewhere."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from airloom.settings import Settings
from airloom.tuning.slots import TAKEN, Slot, Slots

LOOK = 1.0  # seconds between two looks at the slots
SHOWN = 24  # rows of the live table: those in work, and the newest of the others
SIGNS = {"FREE": "·", "TAKEN": "▶", "COMPLETE": "✔", "PRUNED": "✂"}


class StudyView:
    """Says lines, and where it is a terminal keeps a table of the study's slots below them."""

    def __init__(self, settings: Settings, live: Any = None) -> None:
        self._settings, self._live = settings, live
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    def log_line(self, text: str) -> None:
        """One line of progress."""
        if self._live is not None:
            self._live.console.print(text, highlight=False, markup=False)
        else:
            print(text, file=sys.stderr, flush=True)

    def follow(self, study: str) -> None:
        """Show this study from now on."""
        if self._live is not None:
            self._thread = threading.Thread(target=self._draw, args=(study,), daemon=True)
            self._thread.start()

    def end(self) -> None:
        """No more to show."""
        self._ending.set()
        if self._thread:
            self._thread.join(5)

    def _draw(self, study: str) -> None:
        slots = Slots(self._settings.database_address)
        while not self._ending.wait(LOOK):
            self._live.update(table(study, slots.all(study)))
        self._live.update(table(study, slots.all(study)))


@contextmanager
def shown(settings: Settings) -> Iterator[StudyView]:
    """Show a study while the block runs."""
    if not sys.stderr.isatty():
        yield StudyView(settings)
        return
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(stderr=True), refresh_per_second=4) as live:
        view = StudyView(settings, live)
        try:
            yield view
        finally:
            view.end()


def table(study: str, slots: list[Slot]) -> Any:
    """The slots as a table of rich."""
    from rich.table import Table

    done = sum(slot.state in ("COMPLETE", "PRUNED") for slot in slots)
    rows = Table("slot", "trial", "state", "step", "value", "s", "parameters", title=f"{study}: {done} of {len(slots)}")
    busy = [slot for slot in slots if slot.state == TAKEN]
    others = sorted((s for s in slots if s.state != TAKEN and s.trial >= 0), key=lambda slot: slot.trial)
    for slot in [*others[-max(0, SHOWN - len(busy)) :], *busy]:
        rows.add_row(*cells(slot))
    return rows


def cells(slot: Slot) -> list[str]:
    """A slot, for people."""
    value = "" if slot.value is None else f"{slot.value:.4g}"
    state = f"{SIGNS.get(slot.state, '')} {slot.state.lower()}"
    state += f", {slot.preempted} times preempted" if slot.preempted else ""
    state += f", {slot.faults} times failed" if slot.faults else ""
    parameters = ", ".join(
        f"{n} {v:.4g}" if isinstance(v, float) else f"{n} {v}" for n, v in (slot.parameters or {}).items()
    )
    return [str(slot.slot), _number(slot.trial), state, _number(slot.step), value, f"{slot.seconds:.1f}", parameters]


def line(slot: Slot) -> str:
    """A slot as one line."""
    number, trial, state, step, value, seconds, parameters = cells(slot)
    return f"{number:>4} trial {trial:>4} {state:24} step {step:>4} {value:>9} {seconds:>7} s  {parameters}"


def _number(value: int) -> str:
    return "" if value < 0 else str(value)
