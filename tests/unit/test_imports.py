"""Who may import whom: the contracts of pyproject.toml hold, and none of them has an exception."""

import subprocess
import sys
import tomllib
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
LINT = "from importlinter.cli import lint_imports_command; lint_imports_command()"


def test_no_import_runs_upwards_and_none_in_a_circle():
    done = subprocess.run([sys.executable, "-c", LINT], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]


def test_the_contracts_have_no_exceptions_and_cover_every_room():
    contracts = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    assert {"layers", "acyclic_siblings"} <= {contract["type"] for contract in contracts}
    assert not [contract["name"] for contract in contracts if "ignore_imports" in contract]
    (layers,) = (contract for contract in contracts if contract["type"] == "layers")
    rooms = {path.stem for path in (PROJECT / "core" / "airloom").iterdir() if (path / "__init__.py").is_file()}
    named = {name.strip() for layer in layers["layers"] for name in layer.replace("|", ":").split(":")}
    assert rooms <= named
    assert layers["exhaustive"]
