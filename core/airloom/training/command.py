"""Other people's code, unchanged: a program that reads environment variables and writes files trains as a job."""

import json
import logging
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airloom.errors import ConfigError, DataError, JobFailed, StoppedByRequest
from airloom.files import write_private
from airloom.jobs.processes import how
from airloom.processing import Processing
from airloom.training.checkpointing.stop import GOES_ON
from airloom.training.run import SPLITS, TrainingRun

if TYPE_CHECKING:
    from torch import Tensor

    from airloom.training.splits import Source

LOOK = 0.2  # seconds between two looks at the program and its metrics
GRACE = 30.0  # seconds that a program whose budget is met has to save
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
                for step, number in enumerate(value if isinstance(value, list) else [value]):
                    _report(run, step, {name: number})

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


def run_command(command: str | list[str], run: TrainingRun, source: "Source", project: Path, folder: Path) -> None:
    """Run a program to its end, report its metrics while it works, and hand its model to the run.

    It gets, as environment variables:

    - `AIRLOOM_PARAM_<NAME>`: each parameter, the name in capitals; all of them as JSON in the file `AIRLOOM_PARAMS`;
    - `AIRLOOM_SEED`;
    - `AIRLOOM_WEIGHTS_<NAME>`: the file or folder of each of the weights that the pipeline file names;
    - `AIRLOOM_DATA`: a folder with `train` and `validation`: `.npz` with `inputs` (images as float32 0..1) and,
      where there are any, `labels`, or `.parquet` where the inputs are no single tensor;
    - `AIRLOOM_OUTPUT`: the folder to write to, which later attempts find as it is: metrics and model (see `outputs`),
      and whatever the program wants to go on from.

    SIGTERM reaches it as it reaches the job, and when its budget is met: it has half a minute to save.

    Args:
        command: words, or a line that is split into words; no shell. `python` is this interpreter.
        run: its parameters, budget (`seconds` only) and sink.
        source: of the splits.
        project: the working folder.
        folder: of this training; it survives attempts.

    Raises:
        JobFailed: it ended with an error, reported NaN, or wrote no model.
        StoppedByRequest: the job was asked to end.
        ConfigError: it cannot be started.
    """
    if run.world_size > 1:
        raise ConfigError("a command does not go with several processes", "let it start its own; set processes to 1")
    output = folder / "output"
    output.mkdir(parents=True, exist_ok=True)
    metrics = MetricFiles(output)
    process = _start(command, _variables(run, source, folder, output), project)
    try:
        with run.progress.stop.listening():
            ended = _wait(process, run, metrics)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if not ended and process.returncode:
        raise JobFailed(f"{name_of(command)} {how(process.returncode)}", "the log has what it printed")
    metrics.report(run, last=True)
    run.save_model(model_of(output), _example(source))


def _example(source: "Source") -> "Tensor":
    """Two rows as the evaluation will give them: of a table its columns of numbers, stacked.

    Raises:
        ConfigError: the inputs are texts, or have no numbers.
    """
    import torch

    inputs, _ = source.tensors("train")
    if isinstance(inputs, torch.Tensor):
        return inputs[:2]
    if not isinstance(inputs, dict):
        raise ConfigError("a command trains on tensors and tables, not on texts", "name a function instead: `train:`")
    try:
        return torch.from_numpy(Processing().single({name: cells[:2] for name, cells in inputs.items()}))
    except DataError as error:
        raise ConfigError(f"a command trains on numbers: {error.message}", error.hint) from None


def _wait(process: "subprocess.Popen[bytes]", run: TrainingRun, metrics: MetricFiles) -> bool:
    """Until it ends; True where its budget was met."""
    began, met, stop, asked = time.monotonic(), "", run.progress.stop, 0.0
    stop.in_loop = True
    while process.poll() is None:
        time.sleep(LOOK)
        metrics.report(run)
        met = met or run.progress.budget.met(0, time.monotonic() - began, 1)
        if met and not run.progress.over:
            run.progress.over = run.progress.budget.reason(met)
            process.terminate()
            asked = time.monotonic()
        if asked and time.monotonic() - asked > GRACE:
            process.kill()
    stop.in_loop = False
    run.progress.at.seconds = time.monotonic() - began
    if stop.requested:
        raise StoppedByRequest("the command was stopped on request", GOES_ON)
    return bool(met)


def _variables(run: TrainingRun, source: "Source", folder: Path, output: Path) -> dict[str, str]:
    file = folder / "parameters.json"
    file.write_text(json.dumps(run.params))
    own = {"PARAMS": file, "DATA": _data(source, folder), "OUTPUT": output, "SEED": run.seed}
    return {
        **os.environ,
        **{f"AIRLOOM_PARAM_{name.upper()}": str(value) for name, value in run.params.items()},
        **{f"AIRLOOM_WEIGHTS_{name.upper()}": str(run.weights(name)) for name in run.pretrained},
        **{f"AIRLOOM_{name}": str(value) for name, value in own.items()},
    }


def _data(source: "Source", folder: Path) -> Path:
    """Export the splits, each at once or not at all, unless an earlier attempt did."""
    import numpy as np

    data = folder / "data"
    data.mkdir(exist_ok=True)
    for split in SPLITS:
        if any(data.glob(f"{split}.*")):
            continue
        inputs, labels = source.tensors(split)
        temporary = data / f".{split}"
        with temporary.open("wb") as file:
            if hasattr(inputs, "numpy"):
                np.savez(file, inputs=inputs.numpy(), **({} if labels is None else {"labels": labels.numpy()}))
                suffix = ".npz"
            else:
                import pyarrow.parquet as pq

                pq.write_table(source.table(split), file)
                suffix = ".parquet"
        temporary.replace(data / f"{split}{suffix}")
    write_private(data / "classes.json", json.dumps(source.classes))  # in the order of the labels' numbers
    return data


def _start(command: str | list[str], variables: dict[str, str], project: Path) -> "subprocess.Popen[bytes]":
    words = shlex.split(command) if isinstance(command, str) else list(command)
    if not words:
        raise ConfigError("command: it is empty", "give the program and its arguments")
    words[0] = sys.executable if words[0] in ("python", "python3") else words[0]
    try:
        return subprocess.Popen(words, cwd=project, env=variables, stdin=subprocess.DEVNULL)
    except OSError as error:
        raise ConfigError(f"command: {words[0]} cannot be started: {error.strerror}", f"from {project}") from None


def name_of(command: str | list[str]) -> str:
    """The command as a line."""
    return command if isinstance(command, str) else shlex.join(command)


def script_of(command: str | list[str], project: Path) -> Path | None:
    """The first word that is a file of the project: the code that trains."""
    words = shlex.split(command) if isinstance(command, str) else command
    for word in words:
        path = Path(project, word).resolve()
        if path.is_file() and path.is_relative_to(project.resolve()):
            return path
    return None


def model_of(folder: Path) -> Path:
    """The program's model.

    Raises:
        JobFailed: there is none.
    """
    models = [folder / name for name in MODELS if (folder / name).is_file()]
    if not models:
        there = ", ".join(sorted(path.name for path in folder.iterdir())[:20]) or "nothing"
        hint = f"write {' or '.join(MODELS)} (torch.export.save) into the folder $AIRLOOM_OUTPUT"
        raise JobFailed(f"the command saved no model; its output folder holds {there}", hint)
    return models[0]


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
