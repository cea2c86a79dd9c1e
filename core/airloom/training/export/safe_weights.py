"""The weights of a module as safetensors has them: tensors by name, nothing that runs."""

from pathlib import Path
from typing import TYPE_CHECKING

from airloom.errors import JobFailed

if TYPE_CHECKING:
    from torch.nn import Module


def write_weights(model: "Module", path: Path) -> None:
    """All of its weights and buffers; tied ones once, by their first name.

    Raises:
        JobFailed: a part of its state is no tensor.
    """
    import torch
    from safetensors.torch import save_file

    state, tied = model.state_dict(), tied_names(model)
    if odd := [name for name, value in state.items() if not isinstance(value, torch.Tensor)]:
        message = f"{odd[0]} of the module's state is a {type(state[odd[0]]).__name__}, and safetensors keeps tensors"
        raise JobFailed(message, "keep it as a buffer, or give it to __init__ by save_model's `arguments`")
    save_file({name: value.detach().clone().contiguous() for name, value in state.items() if name not in tied}, path)


def tied_names(model: "Module") -> dict[str, str]:
    """Of weights with several names, each further name and the first."""
    first: dict[int, str] = {}
    seen = {name: first.setdefault(id(value), name) for name, value in model.state_dict(keep_vars=True).items()}
    return {name: other for name, other in seen.items() if other != name}
