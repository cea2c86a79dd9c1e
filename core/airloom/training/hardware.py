"""Which machine trained: what may change the last bits of a training, or its speed."""

import os
import platform
from pathlib import Path

import psutil

HARDWARE = "airloom.hardware"


def hardware() -> dict[str, str]:
    """Processor, its cores and memory, the devices that this process sees, and how many threads torch may use."""
    import torch

    devices = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "memory_gib": f"{psutil.virtual_memory().total / 2**30:.1f}",
        "devices": ", ".join(devices) or "none",
        "threads": str(torch.get_num_threads()),
        "ranks": os.environ.get("WORLD_SIZE", "1"),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()
