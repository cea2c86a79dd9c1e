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

from airloom.errors import JobFailed

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

TOLERANCE = 1e-5
BATCHES = (1, 2, 7)


@dataclass(frozen=True)
class ExportedModel:
    """The files of an exported model, and the largest difference between the answers of torch and of ONNX."""

    onnx: Path
    golden: Path
    max_difference: float


@dataclass(frozen=True)
class AdoptedModel:
    """The files of a model that came as ONNX, and its answers to the example, (B, …)."""

    onnx: Path
    golden: Path
    answers: Any


def export(model: "Module", example: "Tensor", folder: Path) -> ExportedModel:
    """Write `model.onnx` (input `input`, output `output`, batch of any size) and `golden.json` to `folder`.

    Args:
        model: on the CPU, in evaluation mode, one tensor in, one tensor out.
        example: at least 2 rows, (B, …).

    Raises:
        JobFailed: the model cannot be exported, or its answers differ by more than 1e-5.
    """
    path = folder / "model.onnx"
    with _quiet() as printed:
        try:
            _write(model, example, path)
        except Exception as error:
            message = f"the model cannot be exported to ONNX: {type(error).__name__}: {str(error)[:500]}"
            raise JobFailed(message, printed.getvalue()[-500:] or "use operations that torch.export knows") from error
    difference = max(_difference(model, _rows(example, size), path) for size in BATCHES)
    if not difference <= TOLERANCE:  # also false for NaN
        raise JobFailed(f"ONNX differs from torch by {difference:.2e}, more than {TOLERANCE:.0e}")
    golden = _golden(model, example[:2], folder / "golden.json")
    return ExportedModel(path, golden, difference)


def adopt(file: Path, example: "Tensor", folder: Path) -> AdoptedModel:
    """Take an ONNX model of others as it is: `model.onnx` and `golden.json` in `folder`, after trying it.

    Args:
        file: one input, one output, a batch of any size.
        example: at least 2 rows, (B, …).

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
    values = {"inputs": example[:2].tolist(), "outputs": answers[:2].tolist(), "dtype": str(example.dtype)}
    golden = folder / "golden.json"
    golden.write_text(json.dumps(values | {"tolerance": TOLERANCE}))
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

    torch.onnx.export(
        model,
        (example,),
        str(path),
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        input_names=["input"],
        output_names=["output"],
        external_data=False,
        verbose=False,
    )


def _rows(example: "Tensor", size: int) -> "Tensor":
    """`size` rows made from the example's, float ones with seeded noise so that no two are equal."""
    import torch

    rows = example.repeat((size // len(example) + 1, *[1] * (example.ndim - 1)))[:size]
    if not rows.is_floating_point():
        return rows
    return rows + 0.1 * torch.randn(rows.shape, generator=torch.Generator().manual_seed(0), dtype=rows.dtype)


def _difference(model: "Module", rows: "Tensor", path: Path) -> float:
    import numpy as np
    import onnxruntime
    import torch

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected = model(rows).numpy()
    (answer,) = session.run(None, {"input": rows.numpy()})
    if answer.shape != expected.shape:
        raise JobFailed(f"ONNX answers with shape {answer.shape}, torch with {expected.shape}")
    return float(np.abs(answer - expected).max())


def _golden(model: "Module", rows: "Tensor", path: Path) -> Path:
    import torch

    with torch.no_grad():
        answers = model(rows)
    values = {"inputs": rows.tolist(), "outputs": answers.tolist(), "dtype": str(rows.dtype), "tolerance": TOLERANCE}
    path.write_text(json.dumps(values))
    return path


@contextmanager
def _quiet() -> Iterator[StringIO]:
    """The exporter prints progress and warns about its own internals; keep it for the error message only."""
    printed = StringIO()
    names = ("torch.onnx", "onnxscript", "torch.export")
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
