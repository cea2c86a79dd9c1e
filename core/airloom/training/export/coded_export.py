"""A module that no graph can express, kept as weights and the name of its code; tried as the evaluation will ask it."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airloom.agreement import first_disagreement, share
from airloom.errors import JobFailed
from airloom.golden import RTOL
from airloom.inputs.prepare import check
from airloom.processing import Processing
from airloom.signature import Port, Signature
from airloom.training.export.answers import answers_of
from airloom.training.export.coded import FILE, WEIGHTS, Coded
from airloom.training.export.commit_code import check_commit, place_of
from airloom.training.export.example import BATCH, Example
from airloom.training.export.onnx import both, check_finite, trials, write_golden
from airloom.training.export.safe_weights import write_weights
from airloom.training.export.session import CodedFiles, PythonSession

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module


@dataclass(frozen=True)
class AsPython:
    """How `save_model(serve="python")` is to keep a module.

    Attributes:
        arguments: of its class.
        project: the project's root.
        commit: that is recorded for the training.
    """

    arguments: dict[str, Any]
    project: Path
    commit: str


@dataclass(frozen=True)
class CodedModel:
    """The files of a model that is kept so.

    Attributes:
        files: code and weights.
        golden: a few inputs and what is answered to them.
        record: `python.json`.
    """

    files: CodedFiles
    golden: Path
    record: Path


def keep_code(
    model: "Module",
    example: "Example | Tensor | Any",
    folder: Path,
    how: AsPython,
    processing: Processing | None = None,
    rtol: float = RTOL,
) -> CodedModel:
    """Write `model.safetensors`, `python.json` and `golden.json`, after the commit's code has answered as the module.

    Args:
        model: on the CPU, in evaluation mode.
        example: at least 2 rows, (B, …).
        folder: where to.
        how: arguments, project and commit.
        processing: what goes before and after it.
        rtol: by how much of their size answers may differ.

    Raises:
        ConfigError: its class is not the project's, or the project has no commit.
        JobFailed: the commit's code is not that of the module, or a row's answer depends on the rows beside it.
    """
    import torch

    example = Example.of(example, model)
    code, path, file = place_of(model, how.project)
    check_commit(how.project, how.commit, file)
    answers = answers_of(model, example)
    check_finite(answers)
    signature = _signature(model, example, answers)
    check(signature, processing.inputs if processing else {})
    _check_rows(model, example, processing, rtol)
    coded = Coded(code, path, how.arguments, how.commit, torch.__version__, example.by_name, signature)
    write_weights(model, folder / WEIGHTS)
    (folder / FILE).write_text(coded.dumps())
    files = CodedFiles.made(coded, folder / WEIGHTS, how.project)
    session, differences = PythonSession(files), dict.fromkeys(answers, 0.0)
    for asked, what in trials(model, example):
        expected, answer = both(model, session, asked, what)
        if problem := first_disagreement(expected, answer, processing, rtol):
            message = f"{code} of commit {how.commit[:12]} does not answer as the trained module: {problem.message}"
            raise JobFailed(message, "give the arguments with which it was built; what else it needs are buffers")
        differences = {name: max(most, share(expected[name], answer[name])) for name, most in differences.items()}
    outputs = {name: answer.numpy() for name, answer in answers.items()}
    return CodedModel(files, write_golden(folder, example, outputs, rtol, differences), folder / FILE)


def _signature(model: "Module", example: Example, answers: "dict[str, Tensor]") -> Signature:
    """Of the example; a dimension of an answer that changes with the rows is of any size."""
    inputs = tuple(
        Port(name, _dtype(tensor), tuple(example.axes(name).get(at, size) for at, size in enumerate(tensor.shape)))
        for name, tensor in example.tensors.items()
    )
    shapes: dict[str, list[int | str]] = {name: [BATCH, *answer.shape[1:]] for name, answer in answers.items()}
    for asked, what in trials(model, example):
        for name, answer in answers_of(model, asked, what).items():
            for at, size in enumerate(answer.shape):
                if at and size != answers[name].shape[at]:
                    before, now = (answers[name].shape[at], size), asked.sizes
                    same = [dim for dim, other in example.sizes.items() if (other, now[dim]) == before]
                    shapes[name][at] = same[0] if same else f"{name}_{at}"
    outputs = tuple(Port(name, _dtype(answer), tuple(shapes[name])) for name, answer in answers.items())
    return Signature(inputs, outputs)


def _dtype(tensor: "Tensor") -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _check_rows(model: "Module", example: Example, processing: Processing | None, rtol: float) -> None:
    """A graph cannot branch by the values of a batch, Python can: then an answer would depend on who asks beside it."""
    import torch

    whole = example.resized(batch=7)
    single = [
        answers_of(
            model, Example({name: tensor[row : row + 1] for name, tensor in whole.tensors.items()}, whole.by_name)
        )
        for row in range(whole.rows)
    ]
    together = {name: answer.numpy() for name, answer in answers_of(model, whole).items()}
    alone = {name: torch.cat([answers[name] for answers in single]).numpy() for name in together}
    if problem := first_disagreement(together, alone, processing, rtol):
        message = f"a row is answered otherwise alone than among seven: {problem.message}"
        raise JobFailed(message, "decide for each row: a loop over the rows, torch.where, or masks")
