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
    tests = [patch.read_text().splitlines()[0].removeprefix("test: ") for patch in patches]
    print(f"{len(patches)} guards; first their tests as they are", flush=True)
    green = _green(sorted(set(tests)))
    survived = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # each waits for pytest in a tree of its own
        for patch, test, without in zip(patches, tests, pool.map(_without, patches, tests), strict=True):
            colour = without if test in green else "RED BEFORE"
            survived += colour != "red"
            print(f"{patch.stem:28} {test:110} {colour}", flush=True)
    return int(bool(survived))


def _green(tests: list[str]) -> set[str]:
    """Those that pass in the tree as it is, all of them in one go: what they import costs most of their time."""
    options = ["-rpfE", "--numprocesses", str(os.cpu_count()), "--dist", "loadfile"]
    lines = _pytest(PROJECT, *options, *tests).stdout.splitlines()
    passed = [line.removeprefix("PASSED ") for line in lines if line.startswith("PASSED ")]
    failed = [line.split(" ", 1)[1] for line in lines if line.startswith(("FAILED ", "ERROR "))]
    return {test for test in tests if _any(passed, test) and not _any(failed, test)}


def _any(names: list[str], test: str) -> bool:
    """Whether a test, or one of its cases or of a file's tests, is among the names."""
    return any(name.split(" - ", 1)[0] == test or name.startswith((f"{test}[", f"{test}::")) for name in names)


def _without(patch: Path, test: str) -> str:
    """What becomes of the test without the guard."""
    with tempfile.TemporaryDirectory(prefix="airloom-mutant-") as folder:
        tree = Path(folder) / "tree"
        left_out = shutil.ignore_patterns(".venv", ".airloom", ".cache", ".*_cache", ".git")
        shutil.copytree(PROJECT, tree, ignore=left_out)
        apply = ["git", "apply", "-C1", "--unsafe-paths", f"--directory={tree}", str(patch)]
        if subprocess.run(apply, cwd="/", check=False).returncode:
            return "DOES NOT APPLY"  # the code has changed: make the patch anew
        return "red" if _pytest(tree, "-x", test).returncode else "SURVIVED"


def _pytest(tree: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(str(tree / root) for root in ROOTS)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
