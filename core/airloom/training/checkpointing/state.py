"""The objects of a training that a checkpoint holds, by the names that the user gave them."""

import copy
from typing import TYPE_CHECKING, Any

from airloom.errors import ConfigError
from airloom.training.checkpointing.frozen import Frozen, load
from airloom.training.world import World

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module
    from torch.optim import Optimizer


ADDED = {"loss_parts", "loss_names"}  # of `fit`; a checkpoint of an earlier release may be without


class KeptObjects:
    """What `run.epochs` was given to keep.

    - A module: what of it is trained and its buffers, digests of what is frozen, and which parts are in training mode.
    - Anything else with `state_dict` and `load_state_dict`: optimizer, schedule, gradient scaler, averaged weights.
    - A tensor: a running sum of this rank, restored in place. At another number of ranks the first one gets the sum.
    - A dict of plain values, restored in place.

    Raises:
        ConfigError: an object is nothing of these.
    """

    def __init__(self, objects: dict[str, Any], world: World, frozen: Frozen | None = None) -> None:
        self._objects = {name: unwrapped(value) for name, value in objects.items() if value is not None}
        self._world, self._frozen = world, frozen or Frozen()
        for name, value in self._objects.items():
            if not (_is_tensor(value) or isinstance(value, dict) or hasattr(value, "load_state_dict")):
                hint = "keep modules, optimizers, schedules, tensors, dicts, or what has state_dict and load_state_dict"
                raise ConfigError(f"{name} cannot be kept in a checkpoint: it is a {type(value).__name__}", hint)

    def state(self) -> dict[str, Any]:
        """As a checkpoint holds it. Tensors are gathered, so all ranks call it."""
        return {name: self._state(value) for name, value in self._objects.items()}

    def optimizers(self) -> "list[Optimizer]":
        """Those among the objects."""
        from torch.optim import Optimizer

        return [value for value in self._objects.values() if isinstance(value, Optimizer)]

    def modules(self) -> "list[Module]":
        """Those among the objects."""
        return [value for value in self._objects.values() if _is_module(value)]

    def size(self) -> int:
        """About how many bytes a checkpoint will have; an optimizer may have no state yet, two numbers a weight."""
        modules = self.modules()
        frozen = {id(p): int(p.nbytes) for module in modules for p in module.parameters() if not p.requires_grad}
        weights = [weight for module in modules for weight in module.state_dict().values()]
        return 3 * (sum(int(weight.nbytes) for weight in weights if _is_tensor(weight)) - sum(frozen.values()))

    def restore(self, saved: dict[str, Any]) -> None:
        """Set every object to its saved state.

        Raises:
            ConfigError: the checkpoint is of other objects.
        """
        older = set(self._objects) - set(saved) <= ADDED
        if set(saved) - set(self._objects) or not older:
            message = f"the checkpoint holds {', '.join(saved)}; the training keeps {', '.join(self._objects)}"
            raise ConfigError(message, "the code changed: clear the task, and it starts anew")
        for name, value in self._objects.items():
            if name not in saved:
                continue
            try:
                self._set(value, saved[name])
            except (RuntimeError, ValueError, KeyError, TypeError) as error:
                message = f"{name} does not fit its state in the checkpoint: {str(error)[:300]}"
                raise ConfigError(message, "the code changed: clear the task, and it starts anew") from None

    def _state(self, value: Any) -> Any:
        if _is_tensor(value):
            return self._world.gather(value)
        if isinstance(value, dict):
            return dict(value)
        if _is_module(value):
            frozen, training = self._frozen.of(value), [part.training for part in value.modules()]
            state = {name: weight for name, weight in value.state_dict().items() if name not in frozen}
            return {"state": state, "training": training} | ({"frozen": frozen} if frozen else {})
        return value.state_dict()

    def _set(self, value: Any, saved: Any) -> None:
        if _is_tensor(value):
            value.copy_(_of_rank(saved, self._world))
        elif isinstance(value, dict):
            value.clear()
            value.update(saved)
        elif _is_module(value):
            _set_module(value, saved)
        else:
            value.load_state_dict(copy.deepcopy(saved))  # an optimizer keeps the very tensors that it is given


def unwrapped(value: Any) -> Any:
    """The module itself, where it was wrapped to train on several ranks: so its state has the same names on one."""
    from torch.nn.parallel import DistributedDataParallel

    return value.module if isinstance(value, DistributedDataParallel) else value


def _set_module(module: "Module", saved: dict[str, Any]) -> None:
    load(module, saved["state"], saved.get("frozen", {}))  # those of earlier releases hold all of it
    for part, training in zip(module.modules(), saved["training"], strict=True):
        part.training = training


def _of_rank(saved: "list[Tensor]", world: World) -> "Tensor":
    if len(saved) == world.size:
        return saved[world.rank]
    total = sum(saved[1:], saved[0])
    return total if world.rank == 0 else total * 0


def _is_tensor(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Tensor)


def _is_module(value: Any) -> bool:
    import torch

    return isinstance(value, torch.nn.Module)
