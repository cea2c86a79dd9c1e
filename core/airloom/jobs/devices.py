"""Devices: which there are, who holds them, and a fair queue for them.

A lease is a file `home/devices/<name>.json` that names an attempt. It holds as long as the attempt's lock is held, and
every process of the attempt holds that, so the lease ends when the last of them does, however they die.
"""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from airloom.contracts import Record
from airloom.errors import ConfigError, CorruptFile
from airloom.jobs import files, processes


@dataclass(frozen=True)
class Lease(Record):
    """The attempt that holds a device.

    Attributes:
        id: of the attempt in the table.
        key: of its job.
        number: of the attempt.
        folder: of the attempt, where its lock is.
    """

    id: int
    key: str
    number: int
    folder: str


def discover(pretended: int = 0) -> list[str]:
    """Names of this machine's devices, `cuda:0`, …; with `pretended`, so many that exist in name only.

    Asking the driver's tool needs no torch, and no CUDA context in a process that lives long.
    """
    if pretended:
        return [f"pretended:{number}" for number in range(pretended)]
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    done = subprocess.run(
        [tool, "--query-gpu=index", "--format=csv,noheader"], capture_output=True, text=True, check=False
    )
    return [f"cuda:{line.strip()}" for line in done.stdout.splitlines() if line.strip().isdigit()]


def lease(home: Path, names: list[str], wanted: int, holder: Lease) -> list[str]:
    """Lease `wanted` of the devices for an attempt whose lock this process holds: all or none.

    Args:
        home: the state folder.
        names: of all devices.
        wanted: how many to lease.
        holder: the attempt.

    Returns:
        Their names; empty while there are too few free ones.

    Raises:
        ConfigError: there are fewer devices than that.
    """
    if wanted > len(names):
        hint = "ask for fewer, or set AIRLOOM_DEVICES"
        raise ConfigError(f"the job wants {wanted} devices, this machine has {len(names)}", hint)
    folder = home / "devices"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with FileLock(str(folder / "lock")):
        free = [name for name in names if _is_free(home, name)][:wanted]
        if len(free) < wanted:
            return []
        for name in free:
            files.write(_file(home, name), holder.to_dict())
    return free


def holder(home: Path, name: str) -> Lease | None:
    """The attempt that holds a device, None where it is free."""
    held = _read(home, name)
    return held if held and files.is_locked(Path(held.folder)) else None


def _is_free(home: Path, name: str) -> bool:
    """Whether nobody holds a device. A process that closed the lock may still compute, so it is ended first."""
    held = _read(home, name)
    if held is None:
        return True
    if files.is_locked(Path(held.folder)) or not processes.end_attempt(Path(held.folder)):
        return False
    _file(home, name).unlink()
    return True


def _read(home: Path, name: str) -> Lease | None:
    path, hint = _file(home, name), "remove it where no job works on that device"
    values = files.read(path, hint)
    try:
        return Lease.from_dict(values) if values is not None else None
    except TypeError:
        raise CorruptFile(f"{path} is damaged: it holds no lease", hint) from None


def _file(home: Path, name: str) -> Path:
    return home / "devices" / f"{name.replace(':', '-')}.json"
