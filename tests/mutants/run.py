"""`make mutants`: switch off one guard at a time in a copy of the tree; the named test must go red.

Each `<guard>.patch` in this folder starts with a line `test: <pytest id>`; git ignores it when applying the patch.
`run.py GUARD…` tries only these.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
ROOTS = ("core", "operators", "plugins", "serving")


def main(only: list[str]) -> int:
    """Print guard, test and colour; 1 when a test stayed green without its guard."""
    patches = [patch for patch in sorted(Path(__file__).parent.glob("*.patch")) if not only or patch.stem in only]
    survived = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # each waits for pytest in a tree of its own
        for patch, (test, colour) in zip(patches, pool.map(_try, patches), strict=True):
            survived += colour != "red"
            print(f"{patch.stem:28} {test:110} {colour}", flush=True)
    return int(bool(survived))


def _try(patch: Path) -> tuple[str, str]:
    """The test of a guard, and what became of it."""
    test = patch.read_text().splitlines()[0].removeprefix("test: ")
    with tempfile.TemporaryDirectory(prefix="airloom-mutant-") as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(PROJECT, tree, ignore=shutil.ignore_patterns(".venv", ".airloom", ".cache", ".*_cache", ".git"))
        green_before = _passes(tree, test)
        subprocess.run(
            ["git", "apply", "-C1", "--unsafe-paths", f"--directory={tree}", str(patch)], cwd="/", check=True
        )
        red = not _passes(tree, test)
    return test, "red" if red and green_before else "SURVIVED" if green_before else "RED BEFORE"


def _passes(tree: Path, test: str) -> bool:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(str(tree / root) for root in ROOTS)}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", test]
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
