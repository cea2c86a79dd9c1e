"""An ONNX model of others, taken as it is after it was tried."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airloom.errors import AirloomError, JobFailed
from airloom.golden import RTOL
from airloom.names import near
from airloom.signature import Signature, check_names
from airloom.training.export.example import BATCH, Example
from airloom.training.export.onnx import BATCHES, ExportedModel, run_session, write_golden

if TYPE_CHECKING:
    from torch import Tensor


def adopt(file: Path, example: "Example | Tensor | Any", folder: Path, rtol: float = RTOL) -> ExportedModel:
    """Take an ONNX model of others: `model.onnx` and `golden.json` in `folder`, after trying it.

    A dimension that the graph leaves open is tried with other sizes; one that takes no other is fixed in the copy.

    Args:
        file: inputs and outputs that are tensors, a batch of any size.
        example: at least 2 rows, (B, …); a tuple is in the graph's order, a dict has its names.
        folder: where to.
        rtol: by how much of their size its answers may differ on another machine.

    Raises:
        JobFailed: it cannot be loaded, two of its inputs have one name, or it does not answer batches of any size.
    """
    path = folder / "model.onnx"
    shutil.copyfile(file, path)
    try:
        _check_names(path)
        session = _session(path)
        signature = Signature.of(session)
        example = _fitted(Example.of(example), signature)
        for size in BATCHES:
            answers = run_session(session, example.resized(batch=size).arrays())
            if wrong := [name for name, answer in answers.items() if answer.shape[:1] != (size,)]:
                raise ValueError(f"it answers {size} rows with {answers[wrong[0]].shape} in its output {wrong[0]!a}")
        closed = [name for name, size in example.sizes.items() if not _takes_others(session, example, name, size)]
        if closed:
            _fix(path, {name: size for name, size in example.sizes.items() if name in closed})
            signature = Signature.of(_session(path))
        answers = run_session(session, example.arrays())
    except AirloomError as error:
        raise JobFailed(f"{file.name} cannot be used: {error.message}", error.hint) from None
    except Exception as error:  # onnxruntime has no common base of its errors
        hint = "export it with inputs of shape (batch, …) and a batch of any size"
        raise JobFailed(f"{file.name} cannot be used: {str(error)[:300]}", hint) from None
    return ExportedModel(path, write_golden(folder, example, answers, rtol), signature, example.arrays(), answers)


def _session(path: Path) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def _check_names(path: Path) -> None:
    """ONNX Runtime says of a name that stands twice no more than that there is an error."""
    import onnx

    graph = onnx.load(str(path), load_external_data=False).graph
    weights = {weight.name for weight in graph.initializer}
    check_names("input", [port.name for port in graph.input if port.name not in weights])
    check_names("output", [port.name for port in graph.output])


def _fitted(example: Example, signature: Signature) -> Example:
    """The example with the graph's names, and with the dimensions that the graph leaves open.

    Raises:
        JobFailed: it has others.
    """
    names, given = [port.name for port in signature.inputs], list(example.tensors)
    if not example.by_name:
        if len(names) != len(given):
            message = f"it has the inputs {', '.join(names)}, and the example is {len(given)} tensor"
            raise JobFailed(f"{message}{'s' * (len(given) > 1)}", "give a dict by input, or a tuple in their order")
        given, example = names, replace(example, tensors=dict(zip(names, example.tensors.values(), strict=True)))
    for name in names:
        if name not in given:
            raise JobFailed(f"the example has no input {name!a}", f"{near(name, given)}it has {', '.join(given)}")
    if extra := [name for name in given if name not in names]:
        hint = f"{near(extra[0], names)}its inputs are {', '.join(names)}"
        raise JobFailed(f"the example has an input {extra[0]!a} that the graph has not", hint)
    places = {
        port.name: {at: size for at, size in enumerate(port.shape) if at and isinstance(size, str)}
        for port in signature.inputs
        if len(port.shape) == example.tensors[port.name].ndim  # else ONNX Runtime says what it takes
    }
    return replace(example, open={name: axes for name, axes in places.items() if axes})


def _takes_others(session: Any, example: Example, name: str, size: int) -> bool:
    """Whether the graph takes another size of a dimension than the example's."""
    for other in (size + 1, 2 * size + 1, size - 1, 1):
        if other == size or other < 1:
            continue
        try:
            run_session(session, example.resized(**{BATCH: 2, name: other}).arrays())
        except Exception:  # noqa: S112 - onnxruntime has no common base of its errors
            continue
        return True
    return False


def _fix(path: Path, sizes: dict[str, int]) -> None:
    """Write the sizes into the graph's inputs: what takes one size only is not open."""
    import onnx

    model = onnx.load(str(path))
    for port in model.graph.input:
        for place, dim in enumerate(port.type.tensor_type.shape.dim):
            name = dim.dim_param or (f"{port.name}_{place}" if not dim.HasField("dim_value") else "")
            if place and name in sizes:
                dim.dim_value = sizes[name]
    onnx.save(model, str(path))
