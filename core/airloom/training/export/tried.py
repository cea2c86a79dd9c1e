"""A saved model made what it will be stored as, in a folder that is thrown away: for a rehearsal."""

from pathlib import Path
from typing import TYPE_CHECKING

from airloom.processing import Processing
from airloom.training.export.adopt import adopt
from airloom.training.export.coded_export import AsPython, keep_code
from airloom.training.export.onnx import export, load_program
from airloom.training.export.session import CodedFiles

if TYPE_CHECKING:
    from torch.nn import Module

    from airloom.training.export.example import Example


def tried(
    model: "Module | Path", example: "Example", folder: Path, processing: Processing, rtol: float, how: AsPython | None
) -> tuple[bytes | CodedFiles, bytes, str]:
    """What answers, its golden answers, and what was done, in a line.

    Args:
        model: a module, or a file: ONNX, or a program saved by `torch.export`.
        example: at least 2 rows.
        folder: where to.
        processing: what goes before and after it.
        rtol: by how much of their size answers may differ.
        how: the module is kept as Python; None: as ONNX.

    Raises:
        JobFailed, ConfigError: as when it is stored.
    """
    if how is not None and not isinstance(model, Path):
        kept = keep_code(model.cpu().eval(), example, folder, how, processing, rtol)
        told = f"kept as Python, {kept.files.size / 1e6:.1f} MB; {kept.files.coded.code} of commit {how.commit[:12]}"
        return kept.files, kept.golden.read_bytes(), f"{told} answers as the model does"
    if isinstance(model, Path) and model.suffix == ".onnx":
        files = adopt(model, example, folder, rtol)
    else:
        module = load_program(model) if isinstance(model, Path) else model.cpu().eval()
        files = export(module, example, folder, processing, rtol)
    data = files.onnx.read_bytes()
    told = f"exported to ONNX, {len(data) / 1e6:.1f} MB; it answers as the model does"
    return data, files.golden.read_bytes(), told
