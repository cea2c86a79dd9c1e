"""What of a module no training changes, and no checkpoint needs to hold: it is verified by digest when one resumes."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airloom.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module


@dataclass
class _Seen:
    """A parameter as it was when a loop first had it."""

    trained: bool
    version: int  # torch counts the writes to a tensor that it sees
    bits: int | str
    sha256: str = ""


class Frozen:
    """The parameters that are frozen since a loop first had them, and unchanged since.

    A parameter that was trained once, is trained later, or that something else writes to, such as a teacher that
    follows by a moving average, is none of them, whatever its `requires_grad` says.
    """

    def __init__(self) -> None:
        self._seen: Any = None

    def note(self, modules: "Iterable[Module]") -> None:
        """Look at modules before a loop trains them."""
        from torch.utils.weak import WeakIdKeyDictionary

        self._seen = WeakIdKeyDictionary() if self._seen is None else self._seen
        for module in modules:
            for parameter in module.parameters():
                if parameter not in self._seen:
                    bits = "" if parameter.requires_grad else _bits(parameter)
                    self._seen[parameter] = _Seen(parameter.requires_grad, parameter._version, bits)
                elif parameter.requires_grad:
                    self._seen[parameter].trained = True

    def of(self, module: "Module") -> dict[str, str]:
        """sha256 by name of those in a module."""
        return {name: self._sha256(parameter) for name, parameter in _named(module) if self._holds(parameter)}

    def _holds(self, parameter: "Tensor") -> bool:
        seen = self._seen.get(parameter) if self._seen is not None else None
        if seen is None or seen.trained or parameter.requires_grad or parameter._version != seen.version:
            return False
        return bool(seen.bits == _bits(parameter))

    def _sha256(self, parameter: "Tensor") -> str:
        seen: _Seen = self._seen[parameter]
        seen.sha256 = seen.sha256 or sha256_of(parameter)
        return seen.sha256


def load(module: "Module", state: "dict[str, Tensor]", frozen: dict[str, str]) -> None:
    """Set a module to the state in a checkpoint, which leaves out what was frozen.

    Args:
        module: made anew.
        state: its trained parameters and its buffers.
        frozen: sha256 of the others, by name.

    Raises:
        ConfigError: one of these is another now.
        RuntimeError: the state is of another module.
    """
    own = dict(_named(module))
    for name, sha256 in frozen.items():
        if name in own and sha256_of(own[name]) != sha256:
            message = f"{name} is frozen, and not what it was in the training that the checkpoint is of"
            hint = "begin with the same weights as before, or clear the task: it starts anew"
            raise ConfigError(message, hint)
    keys = module.load_state_dict(state, strict=not frozen)
    missing = [*(set(keys.missing_keys) - set(frozen)), *(set(frozen) - set(own))]
    if missing or keys.unexpected_keys:
        raise RuntimeError(f"missing {sorted(missing)}, unexpected {sorted(keys.unexpected_keys)}")


def sha256_of(tensor: "Tensor") -> str:
    """sha256 of type, shape and bits."""
    import torch

    plain = tensor.detach().cpu().contiguous()
    state = hashlib.sha256(f"{plain.dtype}:{tuple(plain.shape)}\n".encode())
    state.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    return state.hexdigest()


def _bits(tensor: "Tensor") -> int | str:
    """Quicker than sha256, and on the device: it need only notice what writes to a tensor behind torch's count."""
    import torch

    try:
        return int(torch.hash_tensor(tensor.detach()))
    except (RuntimeError, NotImplementedError):  # of types of few bits there is none
        return sha256_of(tensor)


def _named(module: "Module") -> "Iterator[tuple[str, Tensor]]":
    """As `state_dict` names them: one that is tied stands there under each of its names."""
    return module.named_parameters(remove_duplicate=False)
