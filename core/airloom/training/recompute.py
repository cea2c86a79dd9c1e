"""Gradient checkpointing: activations of some modules are not kept for the backward pass, but computed anew."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airloom.errors import ConfigError

if TYPE_CHECKING:
    from torch.nn import Module


@contextmanager
def recomputed(model: "Module", wanted: "bool | Sequence[Module]") -> Iterator[None]:
    """Within the block the modules compute their activations twice, and hold them once. The weights become the same.

    Args:
        model: whose modules they are.
        wanted: the modules; True: the parts of each `ModuleList` and `Sequential` that no other one contains, which are
            the layers of most models; False: none.

    Raises:
        ConfigError: there are none, or one is not of the model.
    """
    modules = (list(_layers(model)) if wanted is True else list(wanted)) if wanted else []
    own = {id(module) for module in model.modules()}
    if wanted and (not modules or any(id(module) not in own for module in modules)):
        message = (
            f"gradient_checkpointing: {'a module is not of the model' if modules else 'the model names no layers'}"
        )
        raise ConfigError(message, "give the modules themselves: gradient_checkpointing=[*model.blocks]")
    for module in modules:
        vars(module)["forward"] = _anew(module)
    try:
        yield
    finally:
        for module in modules:
            vars(module).pop("forward", None)


def _layers(module: "Module") -> "Iterator[Module]":
    from torch.nn import ModuleList, Sequential

    for part in [module] if isinstance(module, ModuleList | Sequential) else module.children():
        if isinstance(part, ModuleList | Sequential):
            yield from part
        else:
            yield from _layers(part)


def _anew(module: "Module") -> Any:
    from torch.utils.checkpoint import checkpoint

    forward = module.forward

    def call(*arguments: Any, **named: Any) -> Any:
        if not module.training:
            return forward(*arguments, **named)
        return checkpoint(forward, *arguments, use_reentrant=False, **named)

    return call
