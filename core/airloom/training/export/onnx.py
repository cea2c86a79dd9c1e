"""ONNX beside the torch program: the server needs no torch, and golden answers prove that both agree."""

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airloom.agreement import disagreement
from airloom.errors import JobFailed
from airloom.golden import RTOL
from airloom.processing import Processing
from airloom.training.export.check import FIXED_BATCH, answer_of, cause_of, hint_of

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

BATCHES = (1, 2, 7)
_TRACE = "pkg.torch.onnx.stack_trace"


@dataclass(frozen=True)
class ExportedModel:
    """The files of an exported model, whose answers are those of torch."""

    onnx: Path
    golden: Path


@dataclass(frozen=True)
class AdoptedModel:
    """The files of a model that came as ONNX, and its answers to the example, (B, …)."""

    onnx: Path
    golden: Path
    answers: Any


def export(
    model: "Module", example: "Tensor", folder: Path, processing: Processing | None = None, rtol: float = RTOL
) -> ExportedModel:
    """Write `model.onnx` (input `input`, output `output`, batch of any size) and `golden.json` to `folder`.

    Args:
        model: on the CPU, in evaluation mode, one tensor in, one tensor out.
        example: at least 2 rows, (B, …).
        folder: where to.
        processing: what goes before and after the graph.
        rtol: by how much of their size answers may differ.

    Raises:
        JobFailed: the model cannot be exported, or its answers differ from torch's; see `airloom.agreement`.
    """
    path = folder / "model.onnx"
    answers = answer_of(model, example)
    if not answers.isfinite().all():
        hint = "look at the training curves, and at what forward divides by or takes a root or logarithm of"
        raise JobFailed("the model answers its own example with NaN or infinity", hint)
    with _quiet() as printed:
        try:
            _write(model, example, path)
        except Exception as error:
            hint = hint_of(error) or printed.getvalue()[-500:] or "use operations that torch.export knows"
            raise JobFailed(f"the model cannot be exported to ONNX: {cause_of(error)}", hint) from error
    for size in BATCHES:
        expected, answer = _both(model, _rows(example, size), path)
        if problem := disagreement(expected, answer, processing, rtol):
            raise JobFailed(f"ONNX does not answer as torch does: {problem.message}", problem.hint)
    golden = folder / "golden.json"
    _write_golden(golden, example[:2], answers[:2].tolist(), rtol)
    return ExportedModel(path, golden)


def adopt(file: Path, example: "Tensor", folder: Path, rtol: float = RTOL) -> AdoptedModel:
    """Take an ONNX model of others as it is: `model.onnx` and `golden.json` in `folder`, after trying it.

    Args:
        file: one input, one output, a batch of any size.
        example: at least 2 rows, (B, …).
        folder: where to.
        rtol: by how much of their size its answers may differ on another machine.

    Raises:
        JobFailed: it cannot be loaded, or it does not answer batches of any size.
    """
    import shutil

    import onnxruntime

    path = folder / "model.onnx"
    shutil.copyfile(file, path)
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        if len(session.get_inputs()) != 1 or len(session.get_outputs()) != 1:
            raise ValueError("it needs one input and one output")
        name = session.get_inputs()[0].name
        for size in BATCHES:
            (answers,) = session.run(None, {name: _rows(example, size).numpy()})
            if len(answers) != size:
                raise ValueError(f"it answers {size} rows with {len(answers)}")
        (answers,) = session.run(None, {name: example.numpy()})
    except Exception as error:
        hint = "export it with one input of shape (batch, …) and a batch of any size"
        raise JobFailed(f"{file.name} cannot be used: {str(error)[:300]}", hint) from None
    golden = folder / "golden.json"
    _write_golden(golden, example[:2], answers[:2].tolist(), rtol)
    return AdoptedModel(path, golden, answers)


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


def _write(model: "Module", example: "Tensor", path: Path) -> None:
    import torch

    program = torch.onnx.export(
        model,
        (example,),
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        input_names=["input"],
        output_names=["output"],
        verbose=False,
    )
    assert program is not None  # noqa: S101 - of dynamo
    for node in program.model.graph.all_nodes():
        node.metadata_props.pop(_TRACE, None)  # paths of this machine, and other bytes on each
    program.save(str(path), external_data=False)


def _rows(example: "Tensor", size: int) -> "Tensor":
    """`size` rows made from the example's, float ones with seeded noise so that no two are equal."""
    import torch

    rows = example.repeat((size // len(example) + 1, *[1] * (example.ndim - 1)))[:size]
    if not rows.is_floating_point():
        return rows
    return rows + 0.1 * torch.randn(rows.shape, generator=torch.Generator().manual_seed(0), dtype=rows.dtype)


def _both(model: "Module", rows: "Tensor", path: Path) -> tuple[Any, Any]:
    """The answers of torch and of ONNX to the same rows.

    Raises:
        JobFailed: one of them does not take so many.
    """
    import onnxruntime

    expected = answer_of(model, rows, f"a batch of {len(rows)}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4  # what goes wrong is raised
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        (answer,) = session.run(None, {"input": rows.numpy()})
    except Exception as error:  # onnxruntime has no common base of its errors
        message = f"the exported model does not take a batch of {len(rows)}: {str(error)[:300]}"
        raise JobFailed(message, FIXED_BATCH) from error
    return expected.numpy(), answer


def _write_golden(path: Path, rows: "Tensor", answers: list[Any], rtol: float) -> None:
    values = {"inputs": rows.tolist(), "outputs": answers, "dtype": str(rows.dtype), "rtol": rtol}
    path.write_text(json.dumps(values))


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
