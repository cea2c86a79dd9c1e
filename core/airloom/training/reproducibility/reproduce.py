"""Train again what a run trained, and compare: bit for bit, within a tolerance, or not at all."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airloom.contracts import PretrainedWeights, Record, Snapshot
from airloom.errors import ConfigError, JobFailed
from airloom.settings import Settings, load
from airloom.training.export.answers import answers_of
from airloom.training.export.example import Example
from airloom.training.reproducibility.past_run import Past, past_project, past_run

if TYPE_CHECKING:
    from torch.nn import Module

EQUAL, CLOSE, DIFFERS = "BITWISE EQUAL", "WITHIN TOLERANCE", "DIFFERS"
TOLERANCE = 1e-4  # of the answers' size, at least of 1; two thread counts differ by about 1e-6
History = dict[str, dict[str, float]]  # metric -> step -> value


@dataclass(frozen=True)
class Trace(Record):
    """What a training did.

    Attributes:
        weights: sha256 of the trained weights.
        history: each metric by step, the steps as text, as JSON has them.
        answers: of the model, to the inputs that were asked.
    """

    weights: str
    history: History
    answers: list[Any] = field(default_factory=list)


@dataclass(frozen=True)
class TraceComparison(Record):
    """Two trainings side by side; `first_step` is the first whose metrics differ, None where none does."""

    verdict: str
    first_step: int | None
    metric: str
    difference: float  # largest, of the answers; of the metrics where no answers are known
    notes: list[str] = field(default_factory=list)


class Memory:
    """A sink that keeps everything in memory."""

    def __init__(self) -> None:
        self.history: History = {}
        self.model: tuple[Module | Path, Example] | None = None

    def report(self, step: int, metrics: dict[str, float]) -> None:
        """Keep the metrics of a step."""
        for name, value in metrics.items():
            self.history.setdefault(name, {})[str(step)] = value

    def picture(self, step: int, name: str, png: Callable[[], bytes]) -> None:
        """No picture is compared."""

    def sync(self) -> None:
        """Nothing is on disk."""

    def save(self, model: "Module | Path", example: "Example") -> None:
        """Keep the model."""
        self.model = model, example


def step(run: str) -> dict[str, Any]:
    """Job entry: train the run again; a `TraceComparison` as a dict."""
    settings = load()
    past = past_run(settings, run)
    with past_project(settings, past) as (project, notes):
        classes = None if past.named else _numbered_then(settings, past.snapshot)
        asked, weights = past.inputs, past.pretrained
        again = trace(
            settings, project, past.function, past.parameters, past.seed, past.snapshot, asked, classes, weights
        )
    return compare(Trace(past.weights, past.history, past.answers), again, [*notes, *_machine(past)]).to_dict()


def once(
    function: str,
    parameters: dict[str, Any],
    seed: int,
    snapshot: dict[str, Any],
    weights: dict[str, dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """Job entry: train from nothing; a `Trace` as a dict.

    Args:
        function: its reference, `train.py:train`.
        parameters: of the function.
        seed: of every random decision.
        snapshot: the data, as a dict.
        weights: that it begins with, by name, each as a dict.

    Raises:
        JobFailed: the function raised, or saved no model.
    """
    settings = load()
    read, began = Snapshot.from_dict(snapshot), _weights(weights or {})
    return trace(settings, settings.project, function, parameters, seed, read, weights=began).to_dict()


def trace(
    settings: Settings,
    project: Path,
    function: str,
    parameters: Mapping[str, Any],
    seed: int,
    snapshot: Snapshot,
    asked: dict[str, Any] | None = None,
    classes: list[str] | None = None,
    weights: Mapping[str, PretrainedWeights] | None = None,
) -> Trace:
    """Train from nothing, without MLflow and without checkpoints.

    Args:
        settings: of this installation.
        project: the folder with the code.
        function: its reference, `train.py:train`.
        parameters: of the function.
        seed: of every random decision.
        snapshot: the data.
        asked: what the trained model is asked, by input; None: nothing.
        classes: in the order of their numbers; None: as the snapshot says.
        weights: that it begins with, by name.

    Raises:
        JobFailed: the function raised, or saved no model.
    """
    from airloom.project.functions import load_function
    from airloom.project.weights import Pretrained
    from airloom.training.execute import execute
    from airloom.training.run import TrainingRun
    from airloom.training.source import SnapshotSplits

    memory = Memory()
    began = Pretrained(settings.project, weights or {})
    run = TrainingRun(dict(parameters), seed, SnapshotSplits(settings, snapshot, classes), memory, weights=began)
    execute(load_function(project, function), run, function)
    if memory.model is None or isinstance(memory.model[0], Path):
        raise JobFailed(f"{function} saved no module", "only functions that save a module can be compared")
    model = memory.model[0].cpu().eval()
    return Trace(weights_digest(model), memory.history, _answers(model, asked) if asked else [])


def _weights(values: Mapping[str, dict[str, Any]]) -> dict[str, PretrainedWeights]:
    return {name: PretrainedWeights.from_dict(one) for name, one in values.items()}


def _numbered_then(settings: Settings, snapshot: Snapshot) -> list[str]:
    """The classes as the releases numbered them whose models kept no names."""
    from airloom.datasets import versions
    from airloom.datasets.past_classes import past_classes

    return past_classes(settings, versions.get(settings, snapshot.dataset, snapshot.version))


def weights_digest(model: "Module") -> str:
    """sha256 over names, types, shapes and bits of all weights, in the order of their names."""
    import torch

    state = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        tensor = value.detach().cpu().contiguous()
        state.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)}\n".encode())
        state.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return state.hexdigest()


def _answers(model: "Module", inputs: dict[str, Any]) -> list[Any]:
    """Of each output of a model, in its order."""
    import torch

    tensors = {name: torch.from_numpy(values) for name, values in inputs.items()}
    return [answers.tolist() for answers in answers_of(model, Example.again(tensors, model)).values()]


def compare(first: Trace, second: Trace, notes: list[str] | None = None) -> TraceComparison:
    """The verdict on two trainings.

    Bits decide where both weights are known; else, or where they differ, the answers, or the metrics without answers.
    """
    first_step, metric, largest = first_difference(first.history, second.history)
    same, size = first.weights == second.weights, 1.0
    if first.answers and second.answers:
        before, now = _flat(first.answers), _flat(second.answers)
        largest = max((abs(a - b) for a, b in zip(before, now, strict=True)), default=0.0)
        size = max([size, *(abs(value) for value in before if math.isfinite(value))])
    if same and first_step is None:
        return TraceComparison(EQUAL, None, "", 0.0, notes or [])
    verdict = CLOSE if largest <= TOLERANCE * size else DIFFERS  # a NaN differs
    return TraceComparison(verdict, first_step, metric, largest, notes or [])


def first_difference(first: History, second: History) -> tuple[int | None, str, float]:
    """The first step at which a metric differs or is absent in one, that metric, and the largest difference of all."""
    earliest: tuple[int, str] | None = None
    largest = 0.0
    for name in sorted({*first, *second}):
        first_values, second_values = first.get(name, {}), second.get(name, {})
        for text in {*first_values, *second_values}:
            a, b = first_values.get(text), second_values.get(text)
            if a == b:
                continue
            largest = max(largest, abs(a - b)) if a is not None and b is not None else float("inf")
            earliest = min(filter(None, [earliest, (int(text), name)]))
    return (earliest[0], earliest[1], largest) if earliest else (None, "", 0.0)


def _flat(values: Any) -> list[float]:
    return [x for value in values for x in _flat(value)] if isinstance(values, list) else [float(values)]


def _machine(past: Past) -> list[str]:
    """What of this machine is not as it was."""
    import torch

    now = str(torch.get_num_threads())
    notes = [f"it had {past.threads} threads, this has {now}: the last bits may differ"] if past.threads != now else []
    if not past.weights:
        notes.append("the run did not record a digest of its weights; its metrics and answers are compared")
    return notes


def parameters_of(pipeline: Any, given: dict[str, Any]) -> dict[str, Any]:
    """Parameters for a training without a study: the file's, the lowest or first of each dimension, then `given`.

    Raises:
        ConfigError: `given` names something that the pipeline does not have.
    """
    first: dict[str, Any] = {}
    for name, d in pipeline.dimensions.items():
        if name not in given and d.holds({**pipeline.parameters, **first, **given}):
            first[name] = d.value if d.value is not None else d.choice[0] if d.choice else (d.int_ or d.float_)[0]
    unknown = sorted(set(given) - {*pipeline.parameters, *pipeline.dimensions})
    if unknown:
        known = ", ".join(sorted({*pipeline.parameters, *pipeline.dimensions}))
        raise ConfigError(f"unknown parameters: {', '.join(unknown)}", f"{pipeline.pipeline} has: {known or 'none'}")
    return json.loads(json.dumps({**pipeline.parameters, **first, **given}))  # type: ignore[no-any-return]
