"""ONNX beside the torch program: the server needs no torch, and golden answers prove that both agree."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airloom.agreement import first_disagreement, share
from airloom.errors import JobFailed
from airloom.golden import RTOL, Golden
from airloom.inputs.prepare import check
from airloom.processing import Processing
from airloom.signature import Signature
from airloom.training.export.answers import answers_of, flat
from airloom.training.export.check import AS_PYTHON, FIXED_BATCH, FIXED_SIZE, cause_of, hint_of
from airloom.training.export.example import BATCH, OUTPUT, Example

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

BATCHES = (1, 2, 7)
MOST_WEIGHTS = 2**31 - 2**24  # bytes that one ONNX file can hold, and the graph beside them
_TRACE = "pkg.torch.onnx.stack_trace"


@dataclass(frozen=True)
class ExportedModel:
    """The files of an exported model, whose answers are those of torch.

    Attributes:
        onnx: the graph.
        golden: a few inputs and what is answered to them.
        signature: of the graph.
        inputs: the example, (B, …) by name.
        outputs: what was answered to it.
        differences: how far torch and ONNX were apart, of the answers' size, by output; none of an ONNX file of others.
    """

    onnx: Path
    golden: Path
    signature: Signature
    inputs: dict[str, Any]
    outputs: dict[str, Any]
    differences: dict[str, float] = field(default_factory=dict)


def export(
    model: "Module",
    example: "Example | Tensor | Any",
    folder: Path,
    processing: Processing | None = None,
    rtol: float = RTOL,
) -> ExportedModel:
    """Write `model.onnx` (batch of any size, and what else the example says is open) and `golden.json` to `folder`.

    A module of one tensor has the input `input`, one that answers with one tensor the output `output`; all others have
    the names of forward's parameters and of its answers.

    Args:
        model: on the CPU, in evaluation mode.
        example: at least 2 rows, (B, …).
        folder: where to.
        processing: what goes before and after the graph.
        rtol: by how much of their size answers may differ.

    Raises:
        JobFailed: the model cannot be exported, or its answers differ from torch's; see `airloom.agreement`.
    """
    path, example = folder / "model.onnx", Example.of(example, model)
    _check_size(model)
    answers = answers_of(model, example)
    check_finite(answers)
    with _quiet() as printed:
        try:
            _write(model, example, list(answers), path)
        except Exception as error:
            hint = (
                hint_of(error) or printed.getvalue()[-500:] or f"use operations that torch.export knows; or {AS_PYTHON}"
            )
            raise JobFailed(f"the model cannot be exported to ONNX: {cause_of(error)}", hint) from error
    session, differences = _session(path), dict.fromkeys(answers, 0.0)
    check(Signature.of(session), processing.inputs if processing else {})
    for asked, what in trials(model, example):
        expected, answer = both(model, session, asked, what)
        if problem := first_disagreement(expected, answer, processing, rtol):
            raise JobFailed(f"ONNX does not answer as torch does: {problem.message}", problem.hint)
        differences = {name: max(most, share(expected[name], answer[name])) for name, most in differences.items()}
    outputs = {name: answer.numpy() for name, answer in answers.items()}
    golden = write_golden(folder, example, outputs, rtol, differences)
    return ExportedModel(path, golden, Signature.of(session), example.arrays(), outputs, differences)


def _check_size(model: "Module") -> None:
    """Tied weights count once."""
    size = sum({weight.data_ptr(): weight.nbytes for weight in [*model.parameters(), *model.buffers()]}.values())
    if size > MOST_WEIGHTS:
        message = f"the model has {size / 1e9:.1f} GB of weights, and an ONNX file holds {MOST_WEIGHTS / 1e9:.1f} GB"
        raise JobFailed(message, "save a smaller one")


def check_finite(answers: "dict[str, Tensor]") -> None:
    """Refuse a model that has no answer to its own example.

    Raises:
        JobFailed: some of it is NaN or infinite.
    """
    if bad := [name for name, answer in answers.items() if not answer.isfinite().all()]:
        hint = "look at the training curves, and at what forward divides by or takes a root or logarithm of"
        where = f" in its output {bad[0]!a}" if len(answers) > 1 else ""
        raise JobFailed(f"the model answers its own example with NaN or infinity{where}", hint)


def trials(model: "Module", example: Example) -> Iterator[tuple[Example, str]]:
    """The example in several batch sizes, and in several sizes of each open dimension that torch itself takes.

    Raises:
        JobFailed: torch takes no other size of an open dimension.
    """
    for size in BATCHES:
        yield example.resized(batch=size), f"a batch of {size}"
    for name, size in example.sizes.items():
        taken, problem = 0, None
        for other in sorted({1, size - 1, size + 1, 2 * size + 1}):
            asked, what = example.resized(**{BATCH: 2, name: other}), f"{name} of {other}"
            try:
                answers_of(model, asked, what)
            except JobFailed as error:
                problem = error
                continue
            taken += 1
            yield asked, what
        if not taken:
            message = f"the dimension {name!a} is to be open, and the model takes {size} only"
            raise JobFailed(f"{message}: {problem.message if problem else ''}", FIXED_SIZE)


def load_program(file: Path) -> "Module":
    """The module of a program saved by `torch.export.save`.

    Raises:
        JobFailed: it is none.
    """
    import torch

    try:
        return torch.export.load(file).module()
    except Exception as error:
        message = f"{file.name} cannot be loaded: {str(error)[:300]}"
        raise JobFailed(message, "write it by torch.export.save, with a batch of any size") from None


def _write(model: "Module", example: Example, outputs: list[str], path: Path) -> None:
    import torch

    whole = example.is_plain and outputs == [OUTPUT]
    axes = tuple({place: _open(name) for place, name in example.axes(port).items()} for port in example.tensors)
    program = torch.onnx.export(
        model if whole else flat(model, example, outputs),
        tuple(example.tensors.values()),
        dynamo=True,
        dynamic_shapes=axes if whole else (axes,),  # of flat's *tensors
        input_names=list(example.tensors),
        output_names=outputs,
        verbose=False,
    )
    assert program is not None  # noqa: S101 - of dynamo
    for node in program.model.graph.all_nodes():
        node.metadata_props.pop(_TRACE, None)  # paths of this machine, and other bytes on each
    program.save(str(path), external_data=False)


def _open(name: str) -> Any:
    """A text may have bounds that the model sets, such as as many positions as it knows; the batch may have none."""
    import torch

    return torch.export.Dim(name) if name == BATCH else name


def _session(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4  # what goes wrong is raised
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has no common base of its errors
        raise JobFailed(f"the exported model cannot be loaded: {str(error)[:300]}", FIXED_BATCH) from error


def both(model: "Module", session: Any, example: Example, what: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The answers of torch and of a session to the same rows, by output.

    Args:
        model: in evaluation mode.
        session: of what was made of it.
        example: the rows.
        what: they are, for the message.

    Raises:
        JobFailed: one of them does not take such rows.
    """
    expected = answers_of(model, example, what)
    try:
        answer = run_session(session, example.arrays())
    except Exception as error:
        hint = FIXED_BATCH if BATCH in what else FIXED_SIZE
        raise JobFailed(f"the exported model does not take {what}: {str(error)[:300]}", hint) from error
    return {name: part.numpy() for name, part in expected.items()}, answer


def run_session(session: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """What a graph answers, by output; onnxruntime's own errors."""
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def write_golden(
    folder: Path, example: Example, outputs: dict[str, Any], rtol: float, differences: dict[str, float] | None = None
) -> Path:
    """Keep the first two rows of the example and of its answers; see `airloom.golden`."""
    path, two = folder / "golden.json", {name: answer[:2] for name, answer in outputs.items()}
    path.write_text(Golden(example.cut(2).arrays(), two, rtol, differences=differences or {}).dumps())
    return path


@contextmanager
def _quiet() -> Iterator[StringIO]:
    """The exporter prints progress and warns about its own internals; keep it for the error message only."""
    printed = StringIO()
    names = ("torch.onnx", "onnxscript", "torch.export", "torch.fx")
    levels = {name: logging.getLogger(name).level for name in names}
    with ExitStack() as stack:
        stack.enter_context(redirect_stdout(printed))
        stack.enter_context(redirect_stderr(printed))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        for name in names:
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            yield printed
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
