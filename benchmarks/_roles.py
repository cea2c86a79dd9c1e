"""The wheel in a fresh environment of each role: what pip takes to install it, and how large it is then."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
ROLES = {  # extras of each role that a machine has
    "airflow": "airflow",
    "training": "training",
    "serving": "serving",
    "all": "airflow,training,serving",
}


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel in it.

    Attributes:
        python: its interpreter.
        seconds: that `pip install` took.
        megabytes: of its packages.
    """

    python: Path
    seconds: float
    megabytes: float

    def run(self, *words: str, folder: Path) -> str:
        """What Python prints; nothing of this environment or installation is in its own.

        Raises:
            CalledProcessError: it failed; what it said is on stderr.
        """
        own = {name: value for name, value in os.environ.items() if not name.startswith(("AIRLOOM_", "PYTHON"))}
        own |= {
            "PATH": f"{self.python.parent}{os.pathsep}{os.environ['PATH']}",
            "AIRFLOW_HOME": str(folder / "airflow"),
        }
        command = [str(self.python), *words]
        done = subprocess.run(command, cwd=folder, env=own, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(words)} ended with {done.returncode}: {done.stdout[-2000:]}")
        return done.stdout


def wheel(folder: Path) -> Path:
    """Build it from this tree."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=PROJECT, check=True, stdout=subprocess.DEVNULL)
    (file,) = folder.glob("airloom-*.whl")
    return file


def install(file: Path, extras: str, folder: Path) -> Installed:
    """Make an environment and install the wheel with some extras, as the lock pins them; pip's cache as it is."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    began = time.monotonic()
    subprocess.run([*pip, "--constraint", str(PROJECT / "constraints.txt"), f"{file}[{extras}]"], check=True)
    seconds = time.monotonic() - began
    (packages,) = folder.glob("lib/python*/site-packages")
    size = sum(path.lstat().st_size for path in packages.rglob("*") if path.is_file())
    return Installed(python, seconds, size / 1e6)
