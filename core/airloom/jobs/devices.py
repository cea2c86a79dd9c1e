"""Devices: which there are, who holds them, and a fair queue for them.

A lease is a file `home/devices/<name>.json` that names an attempt. It holds as long as the attempt's lock is held, and
every process of the attempt holds that, so the lease ends when the last of them does, however they die.
"""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from filelock import FileLock

from airloom.errors import ConfigError
from airloom.files import write_private
from airloom.jobs import files, processes


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


def lease(home: Path, names: list[str], wanted: int, attempt: dict[str, Any]) -> list[str]:
    """Lease `wanted` of the devices for an attempt whose lock this process holds: all or none.

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
            write_private(_file(home, name), json.dumps(attempt))
    return free


def holder(home: Path, name: str) -> dict[str, Any] | None:
    """The attempt that holds a device (`id`, `key`, `number`, `folder`), None where it is free."""
    found = files.read(_file(home, name))
    return found if found and files.is_locked(Path(found["folder"])) else None


def _is_free(home: Path, name: str) -> bool:
    """Whether nobody holds a device. A process that closed the lock may still compute, so it is ended first."""
    found = files.read(_file(home, name))
    if found is None:
        return True
    if files.is_locked(Path(found["folder"])) or not processes.end_attempt(Path(found["folder"])):
        return False
    _file(home, name).unlink()
    return True


def _file(home: Path, name: str) -> Path:
    return home / "devices" / f"{name.replace(':', '-')}.json"
