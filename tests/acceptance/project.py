"""Rows of project.yaml: one command of a newcomer, given in a folder of his.

project.py FOLDER WORD…     `airloom WORD…` with FOLDER as the working folder, which is made if it is not there
"""

import os
import subprocess
import sys
from pathlib import Path

AIRLOOM = [str(Path(sys.prefix) / "bin" / "python"), "-m", "airloom"]


def main(folder: Path, words: list[str]) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    # Rows may name a home; a newcomer has no variable of ours, and the project's root decides.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRLOOM_")}
    return subprocess.run([*AIRLOOM, *words], cwd=folder, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
