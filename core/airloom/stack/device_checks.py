"""What `airloom doctor` finds of NVIDIA devices: that jobs can lease them, and that torch can use them."""

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

from airloom.jobs import devices
from airloom.stack.finding import Finding

DRIVER = Path("/proc/driver/nvidia/gpus")  # a folder for each device, where the kernel has NVIDIA's driver
BUILT = re.compile(r"^(__version__|cuda)\b[^=]*= *(?:'([^']*)'|None)", re.MULTILINE)


def cuda() -> Iterator[Finding]:
    """Nothing where there is no device, or no torch to use one; torch itself, which takes seconds, is not imported."""
    names, driven = devices.discover(), len(list(DRIVER.iterdir())) if DRIVER.is_dir() else 0
    if driven and not names:
        detail = f"the driver has {driven} NVIDIA devices, nvidia-smi does not name them: no job can lease one"
        yield Finding("devices", False, detail, "put NVIDIA's tool nvidia-smi on PATH, of the driver's version")
    if not (names or driven) or (built := torch_build()) is None:
        return
    version, toolkit = built
    if toolkit:
        yield Finding("CUDA", True, f"{', '.join(names) or f'{driven} devices'}; torch {version} is for CUDA {toolkit}")
        return
    detail = f"this machine has NVIDIA devices, torch {version} was built without CUDA: every job trains on the CPU"
    plain = version.partition("+")[0]
    fix = f"pip install --force-reinstall -c constraints.txt torch=={plain}, from an index that has not the CPU's build"
    yield Finding("CUDA", False, detail, fix)


def torch_build() -> tuple[str, str] | None:
    """Version of the installed torch and of its CUDA, empty for none; None where there is no torch."""
    spec = importlib.util.find_spec("torch")
    file = Path(spec.origin).with_name("version.py") if spec and spec.origin else None
    if file is None or not file.is_file():
        return None
    values = dict(BUILT.findall(file.read_text()))
    return values.get("__version__", "?"), values.get("cuda", "")
