"""The processes that train together: who this one is, and the few things that all of them do at once."""

import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airloom.errors import ConfigError, JobFailed

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module


# Groups that were left. A DDP model holds its group too. Were it the last holder, its C++ would wait for the group's
# thread while it holds the GIL, which that thread may want.
_left: list[Any] = []


@dataclass(frozen=True)
class World:
    """The ranks of a training. Alone, every method returns at once what it was given.

    Attributes:
        rank: number of this process, from 0.
        size: number of processes.
        local_rank: number of this process on its machine, which chooses its device.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    def largest(self, values: list[float]) -> list[float]:
        """Of each number the largest that any rank has; all ranks get the same."""
        if self.size == 1:
            return values
        import torch
        import torch.distributed as dist

        tensor = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return [float(value) for value in tensor.tolist()]

    def sum(self, tensor: "Tensor") -> "Tensor":
        """The sum over all ranks, on the CPU."""
        total = tensor.detach().cpu().clone()
        if self.size > 1:
            import torch.distributed as dist

            dist.all_reduce(total)
        return total

    def gather(self, tensor: "Tensor") -> "list[Tensor]":
        """The tensors of all ranks in their order, on the CPU; they have one shape."""
        own = tensor.detach().cpu().clone()
        if self.size == 1:
            return [own]
        import torch
        import torch.distributed as dist

        tensors = [torch.empty_like(own) for _ in range(self.size)]
        dist.all_gather(tensors, own)
        return tensors

    def from_first(self, function: Callable[[], Any]) -> Any:
        """Call `function` in rank 0 and give its result, which JSON can hold, to all.

        Raises:
            JobFailed: in the other ranks, where it raised in rank 0.
        """
        if self.size == 1:
            return function()
        if self.rank:
            return self._receive()
        try:
            value = function()
            self._send({"value": value})
            return value
        except BaseException:
            self._send({"failed": True})
            raise

    def share_buffers(self, module: "Module") -> None:
        """Give rank 0's buffers (running means of batch norm) to all, so that all evaluate the same model."""
        if self.size > 1:
            import torch.distributed as dist

            for buffer in module.buffers():
                dist.broadcast(buffer, 0)

    def wait(self) -> None:
        """Until all ranks are here."""
        self.largest([0.0])

    def _send(self, message: dict[str, Any]) -> None:
        import torch
        import torch.distributed as dist

        data = torch.frombuffer(bytearray(json.dumps(message).encode()), dtype=torch.uint8)
        dist.broadcast(torch.tensor([len(data)]), 0)
        dist.broadcast(data, 0)

    def _receive(self) -> Any:
        import torch
        import torch.distributed as dist

        size = torch.zeros(1, dtype=torch.int64)
        dist.broadcast(size, 0)
        data = torch.empty(int(size), dtype=torch.uint8)
        dist.broadcast(data, 0)
        message = json.loads(data.numpy().tobytes())
        if "failed" in message:
            raise JobFailed("rank 0 failed", "its error says why")
        return message["value"]


def this_world() -> World:
    """The ranks as torchrun's variables say, else one process alone."""
    size = int(os.environ.get("WORLD_SIZE", 1))
    return World(int(os.environ.get("RANK", 0)), size, int(os.environ.get("LOCAL_RANK", 0))) if size > 1 else World()


def device_of(world: World) -> str:
    """`cuda:<local rank>` where a device is visible, else `cpu`.

    Raises:
        ConfigError: there are fewer devices than ranks on this machine.
    """
    import torch

    devices = torch.cuda.device_count()
    if not devices:
        return "cpu"
    if world.local_rank >= devices:
        message = f"rank {world.rank} needs device {world.local_rank + 1} of this machine, {devices} are visible"
        raise ConfigError(message, "resources: give each process a device, `devices` as many as `processes`")
    return f"cuda:{world.local_rank}"


@contextmanager
def joined() -> Iterator[World]:
    """Connect the ranks for the block: gloo, and NCCL between CUDA devices. Joined already, or alone: nothing to do.

    An error that leaves the block is written down before the connections close, so that the ranks whose next
    operation then fails can name the one that was first.
    """
    import torch.distributed as dist

    world = this_world()
    if world.size == 1 or dist.is_initialized():
        yield world
        return
    _connect(world)
    try:
        yield world
    except BaseException as error:
        write_down(error)
        raise
    finally:
        _left.append(dist.group.WORLD)
        dist.destroy_process_group()


def _connect(world: World) -> None:
    import torch
    import torch.distributed as dist

    device = device_of(world)
    if device != "cpu":
        torch.cuda.set_device(device)
    one_machine = os.environ.get("LOCAL_WORLD_SIZE", str(world.size)) == str(world.size)
    if one_machine and "lo" in (name for _, name in socket.if_nameindex()):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # nothing beyond this machine shall connect
    dist.init_process_group("gloo" if device == "cpu" else "cpu:gloo,cuda:nccl")


def write_down(error: BaseException) -> None:
    """Leave the error of this rank where the others and the supervisor look for it; the first one stays."""
    from airloom.jobs import context

    job = context.current()
    if job is not None:
        context.rank_ended(job.folder, job.rank, error)
