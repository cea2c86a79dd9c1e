"""An environment for what the benchmarks compare with: it sees the project's own packages, and adds the peers.

`ensure()` is called first, before anything of a peer is imported; the benchmark goes on in that environment.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
ENVIRONMENT = PROJECT / ".cache" / "peers"
REQUIREMENTS = PROJECT / "benchmarks" / "requirements.txt"


def ensure() -> None:
    """Continue this program with the peers at hand; what it takes is installed once, and again when it changes."""
    if Path(sys.prefix) == ENVIRONMENT:
        return
    own = sysconfig.get_path("purelib")
    stamp = ENVIRONMENT / "made-of"
    wanted = hashlib.sha256(f"{sys.version}\n{own}\n{REQUIREMENTS.read_text()}".encode()).hexdigest()
    if not stamp.exists() or stamp.read_text() != wanted:
        _make(own)
        stamp.write_text(wanted)
    python = str(ENVIRONMENT / "bin" / "python")
    sys.stdout.flush()
    os.execv(python, [python, *sys.orig_argv[1:]])  # noqa: S606 - this very program, in the other environment


def _make(own: str) -> None:
    print(f"installing the peers into {ENVIRONMENT.relative_to(PROJECT)}", file=sys.stderr)
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    venv.create(ENVIRONMENT, with_pip=False, symlinks=True)
    base = {"base": str(ENVIRONMENT), "platbase": str(ENVIRONMENT)}
    packages = Path(sysconfig.get_path("purelib", "venv", vars=base))
    # Not a plain path: the project's folder has .pth files of its own, which only addsitedir reads.
    (packages / "project.pth").write_text(f"import site; site.addsitedir({own!r})\n")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(ENVIRONMENT / "bin" / "python")]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--requirement", str(REQUIREMENTS)], check=True)
