"""`python -m airloom.training.export.worker`: builds a module of a commit's code, and answers until nobody asks.

A process of its own: two versions of a module cannot be imported into one, and today's code is not the commit's.
"""

import hashlib
import importlib
import os
import signal
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from airloom.errors import AirloomError, ConfigError, CorruptFile, JobFailed
from airloom.project.functions import load_function
from airloom.project.place import own_line
from airloom.training.export.answers import answers_of
from airloom.training.export.commit_code import paths_of
from airloom.training.export.example import Example
from airloom.training.export.safe_weights import tied_names
from airloom.training.export.wire import receive, send

if TYPE_CHECKING:
    from torch.nn import Module


def main() -> None:
    """Build what the first message says, then answer until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who asks ends it
    asks, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the code prints is no answer
    first = receive(asks)
    if first is None:
        return
    try:
        model = build(**first[0]["build"])
    except Exception as error:
        send(answers, _failure(error))
        return
    send(answers, {})
    _answer(model, first[0]["by_name"], asks, answers)


def build(
    root: str, project: str, code: str, path: str, arguments: dict[str, Any], weights: str, sha256: str
) -> "Module":
    """The module, in evaluation mode.

    Args:
        root: the folder with the commit's files.
        project: the project's root today.
        code: the class, `net.py:Net` or `shop.net:Net`.
        path: the folder below the root in which its import looks.
        arguments: of the class.
        weights: a file of safetensors.
        sha256: of it.

    Raises:
        JobFailed: the class is not there, cannot be built, or has other weights.
        CorruptFile: the file has another digest.
    """
    kind, made = _class(Path(root), Path(project), code, path), code.rpartition(":")[2]
    try:
        model: Module = kind(**arguments)
    except Exception as error:
        told = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
        message = f"{code} cannot be built by {made}({told[:200]}): {type(error).__name__}: {str(error)[:300]}"
        hint = 'give save_model what its __init__ takes: arguments={"width": 64}'
        raise JobFailed(f"{message} ({own_line(error)})", hint) from error
    _load(model, Path(weights), sha256, made)
    return model.eval()


def _class(root: Path, project: Path, code: str, path: str) -> Any:
    """The class of the commit's code, and of no other."""
    from torch import nn

    sys.path[:] = paths_of(project, root, path)
    place, _, name = code.partition(":")
    if place.endswith(".py"):
        try:
            kind: Any = load_function(root, code)
        except ConfigError as error:
            raise JobFailed(error.message.removeprefix("train: "), error.hint) from None
    else:
        try:
            kind = getattr(importlib.import_module(place), name, None)
        except Exception as error:
            message = f"{code} of the commit cannot be imported: {type(error).__name__}: {str(error)[:300]}"
            raise JobFailed(f"{message} ({own_line(error)})", "install what it imports beside airloom") from error
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        raise JobFailed(f"{code} is no class of a module", "register the model again")
    file = Path(str(getattr(sys.modules[kind.__module__], "__file__", ""))).resolve()
    if not file.is_relative_to(root):
        message = f"{code} was imported from elsewhere than the files of the commit"
        raise JobFailed(message, "install the project as a folder on the path, or give the class a file of its own")
    return kind


def _load(model: "Module", weights: Path, sha256: str, made: str) -> None:
    """Its weights, of the very bytes whose digest was compared; all of them, and no others."""
    from safetensors.torch import load

    data = weights.read_bytes()
    if hashlib.sha256(data).hexdigest() != sha256:
        raise CorruptFile(f"{weights.name} is damaged: its sha256 is not the recorded one", "fetch it again")
    stored, tied = load(data), tied_names(model)
    whole = stored | {name: stored[first] for name, first in tied.items() if first in stored and name not in stored}
    try:
        model.load_state_dict(whole, strict=True)
    except RuntimeError as error:
        message = f"{made} has other weights than those that were trained: {' '.join(str(error).split())[:300]}"
        raise JobFailed(message, "give save_model the arguments with which the trained module was built") from None


def _answer(model: "Module", by_name: bool, asks: IO[bytes], answers: IO[bytes]) -> None:
    import torch

    while (message := receive(asks)) is not None:
        told, arrays = message
        tensors = {name: torch.from_numpy(arrays[name].copy()) for name in told["inputs"]}
        try:
            parts = answers_of(model, Example(tensors, by_name), "these rows")
            outputs = {name: part.detach().cpu().numpy() for name, part in parts.items()}
            send(answers, {"outputs": list(outputs)}, outputs)
        except Exception as error:
            send(answers, _failure(error))


def _failure(error: Exception) -> dict[str, str]:
    if isinstance(error, AirloomError):
        return {"error": error.message, "hint": error.hint}
    return {"error": f"{type(error).__name__}: {str(error)[:300]} ({own_line(error)})", "hint": ""}


if __name__ == "__main__":
    main()
