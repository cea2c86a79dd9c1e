"""The wheel in a fresh environment of each role, with no package of this one: its imports, and the loop in the largest.

`test_dependencies.py` is the sample of it that `make test` runs: what each role imports against what it declares.
"""

import ast
import json
from pathlib import Path

import pytest
from benchmarks import _roles

pytestmark = [pytest.mark.long, pytest.mark.timeout(3000)]
# Modules of each role, by the beginnings of their names.
MODULES = {
    "airflow": ("airloom.", "airloom_operators.", "airloom_plugins."),
    "serving": ("airloom.", "airloom_serving."),
    "training": ("airloom.",),
    "all": ("airloom.", "airloom_operators.", "airloom_plugins.", "airloom_serving."),
}
IMPORT = """
import importlib, json, sys
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
from importlib.metadata import distributions
print(json.dumps(sorted({found.name.lower() for found in distributions()})))
"""


def modules(role: str) -> list[str]:
    """Those that the role loads: all where it trains, else all but what imports torch at its top."""
    names = []
    for package in ("core", "operators", "plugins", "serving"):
        for file in sorted((_roles.PROJECT / package).rglob("*.py")):
            parts = file.relative_to(_roles.PROJECT / package).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            if parts[-1] == "__main__" or "templates" in parts or not f"{name}.".startswith(MODULES[role]):
                continue
            if role in ("training", "all") or not _at_top(file) & {"torch", "onnx"}:
                names.append(name)
    return names


def _at_top(file: Path) -> set[str]:
    nodes = ast.parse(file.read_text()).body
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return {name.partition(".")[0] for name in plain} | {
        node.module.partition(".")[0] for node in nodes if isinstance(node, ast.ImportFrom) and node.module
    }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _roles.wheel(tmp_path_factory.mktemp("wheel"))


@pytest.mark.parametrize("role", ["airflow", "serving", "training"])
def test_a_role_is_whole_by_itself(wheel: Path, tmp_path: Path, record_property, role: str) -> None:
    environment = _roles.install(wheel, _roles.ROLES[role], tmp_path / "environment")
    record_property(f"install {role}", f"{environment.seconds:.0f} s, {environment.megabytes:.0f} MB")
    names = modules(role)
    assert len(names) > 100
    installed = set(json.loads(environment.run("-c", IMPORT, json.dumps(names), folder=tmp_path).splitlines()[-1]))
    assert ("torch" in installed) == (role == "training")
    assert ("apache-airflow-core" in installed) == (role == "airflow")
    assert ("bentoml" in installed) == (role == "serving")
    assert environment.run("-m", "airloom", "--help", folder=tmp_path)


def test_the_whole_loop_is_played_by_who_has_only_the_wheel(wheel: Path, tmp_path: Path, record_property) -> None:
    """`init`, data, a run, the stack, a commit, an answer; in an environment that never saw this repository."""
    from benchmarks.project import play

    environment = _roles.install(wheel, _roles.ROLES["all"], tmp_path / "environment")
    record_property("install all", f"{environment.seconds:.0f} s, {environment.megabytes:.0f} MB")
    environment.run("-c", IMPORT, json.dumps(modules("all")), folder=tmp_path)
    seconds = play(environment, tmp_path, "blank")
    record_property("init to an answer, wheel", f"{seconds['first_answer_s']:.0f} s")
