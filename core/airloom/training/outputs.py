"""What a program leaves in its output folder: metrics and a model."""

import json
import logging
from pathlib import Path
from typing import Any

from airloom.errors import JobFailed
from airloom.training.run import TrainingRun

MODELS = ("model.onnx", "model.pt2")
log = logging.getLogger(__name__)


class MetricFiles:
    """`metrics.jsonl` is followed while it grows; `metrics.json` is read in the end.

    `metrics.jsonl` has a JSON object a line, `{"step": 3, "loss": 0.25}`; without `step` the line's number counts, from
    0. `metrics.json` is one object: numbers, which are metrics of step 0, or lists of numbers, one a step. What is no
    number is left out. A step that was reported already stays as it is: a program that begins anew may write it again.
    """

    def __init__(self, folder: Path) -> None:
        self._lines, self._whole = folder / "metrics.jsonl", folder / "metrics.json"
        self._offset = self._number = 0

    def report(self, run: TrainingRun, last: bool = False) -> None:
        """Report what is new.

        Raises:
            JobFailed: a metric is NaN or infinite, or a file is no JSON.
        """
        for line in self._new(last):
            values = _object(line, self._lines)
            step = values.pop("step", self._number)
            self._number += 1
            _report(run, int(step), values)
        if last and self._whole.exists():
            for name, value in _object(self._whole.read_text(encoding="utf-8"), self._whole).items():
                for step, one in enumerate(value if isinstance(value, list) else [value]):
                    _report(run, step, {name: one})

    def _new(self, last: bool) -> list[str]:
        """The complete lines since the last call; an incomplete one counts in the end."""
        if not self._lines.exists():
            return []
        if self._lines.stat().st_size < self._offset:  # written anew
            self._offset = self._number = 0
        with self._lines.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        whole = data if last else data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        return [line for line in whole.decode("utf-8", "replace").splitlines() if line.strip()]


def model_of(folder: Path) -> Path:
    """The program's model.

    Raises:
        JobFailed: there is none.
    """
    found = [folder / name for name in MODELS if (folder / name).is_file()]
    if not found:
        there = ", ".join(sorted(path.name for path in folder.iterdir())[:20]) or "nothing"
        hint = f"write {' or '.join(MODELS)} (torch.export.save) into the folder $AIRLOOM_OUTPUT"
        raise JobFailed(f"the command saved no model; its output folder holds {there}", hint)
    return found[0]


def _report(run: TrainingRun, step: int, values: dict[str, Any]) -> None:
    numbers = {name: v for name, v in values.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    if numbers:
        run.report(step, **numbers)


def _object(text: str, path: Path) -> dict[str, Any]:
    try:
        values = json.loads(text)
        return {str(name): value for name, value in values.items()}
    except (ValueError, AttributeError):
        hint = 'write JSON objects: {"step": 3, "loss": 0.25}'
        raise JobFailed(f"{path.name} holds a line that is no JSON object: {text[:80]!r}", hint) from None
