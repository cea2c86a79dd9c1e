"""`airloom init`: a project of one's own from a template, whole or not at all."""

import keyword
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from importlib.machinery import PathFinder
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template

from airloom import project_file
from airloom.errors import ConfigError
from airloom.project import git

NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")  # of the project, its pipeline, its dataset and its package
DEMO = (
    "configs/pipelines/digits.yaml",
    "configs/expectations/digits.json",
    "examples/digits/model.py",
    "examples/digits/mlp.py",
    "dags/pipelines.py",
    project_file.FILE,
)
FILLED = ".tmpl"  # of a file that has `$name` and others to be filled in
THEIRS = ("README.md", ".gitignore")  # a folder that has them keeps its own


@dataclass(frozen=True)
class Kind:
    """A template: what its data are called, how they are committed, and what the model is asked."""

    story: str
    data: str
    options: tuple[str, ...]
    instances: str


KINDS = {
    "image": Kind("Handwritten digits from pictures in a folder for each digit.", "pictures", (), "[[[[0, …]]]]"),
    "text": Kind(
        "What a message to a shop is about.",
        "messages.csv",
        ("--label", "topic"),
        '["hello, my kettle is broken"]',
    ),
    "table": Kind(
        "Whether a tumour is benign, from thirty measures of it.",
        "tumours.csv",
        ("--label", "diagnosis"),
        "[[17.99, 10.38, …]]",
    ),
    "blank": Kind(
        "A number from two others, to begin with.",
        "rows.csv",
        ("--label", "target", "--type", "tabular"),
        "[[0.5, -0.25]]",
    ),
}


@dataclass(frozen=True)
class Project:
    """What `init` made.

    Attributes:
        folder: the project's root.
        name: of the project, its pipeline, dataset and package.
        files: written, by their path from the root.
        left: files that stood there and were left as they are.
        commit: the first commit; empty where the folder is in a repository already, or git knows no author.
        commands: what to run next, in their order.
    """

    folder: Path
    name: str
    files: list[str]
    left: list[str]
    commit: str
    commands: list[str]


def init(folder: Path, template: str) -> Project:
    """Write a project into a folder, which is made where it is not there, and commit it to git.

    Args:
        folder: the project's root; its name is the project's.
        template: a key of `KINDS`.

    Raises:
        ConfigError: the name is none for a pipeline or taken by a module, the folder lies in a project, or has files of
            the template already.
    """
    folder = folder.expanduser().absolute()
    name, kind = folder.name, KINDS[template]
    _check_name(name)
    if (outer := project_file.root(folder)) is not None:
        hint = f"a file more in {outer / 'configs' / 'pipelines'} is one more pipeline of it"
        raise ConfigError(f"{folder} lies in the project {outer}", hint)
    left = [path for path in THEIRS if (folder / path).exists()]
    files = {path: text for path, text in _files(name, template).items() if path not in left}
    if taken := [path for path in files if os.path.lexists(folder / path)]:
        raise ConfigError(f"{folder} has {', '.join(taken)} already", "choose another name, or move them away")
    _write(folder, files)
    create = ["airloom dataset create", name, f"data/{kind.data}", *kind.options, '-m "first rows"']
    commands = [f"python -m {name}.data", " ".join(create), f"airloom run {name}"]
    return Project(folder, name, sorted(files), left, _first_commit(folder), commands)


def demo(folder: Path) -> Path:
    """The demo's project: this one where it is, else one of its files, written into `airloom_demo` below it.

    Args:
        folder: a project, or any folder.
    """
    if (folder / DEMO[0]).is_file():
        return folder
    target = folder / "airloom_demo"
    if not (target / project_file.FILE).is_file():
        packed = resources.files("airloom.project").joinpath("templates", "demo")
        source = (
            packed if packed.is_dir() else Path(__file__).resolve().parents[3]
        )  # in a clone they stand where they are
        _write(target, {path: source.joinpath(path).read_text(encoding="utf-8") for path in DEMO})
    return target


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name) or keyword.iskeyword(name):
        hint = "lower case letters, digits and _, at most 40, a letter first: a package and a pipeline are called so"
        raise ConfigError(f"{name!r} is no name of a project", hint)
    search = [place for place in sys.path if Path(place or ".").absolute() != Path.cwd()]
    if name in sys.builtin_module_names or PathFinder.find_spec(name, search) is not None:
        raise ConfigError(f"{name!r} is a module of Python's or of an installed package", "choose another name")


def _files(name: str, template: str) -> dict[str, str]:
    """The text of each file by its path from the project's root."""
    kind = KINDS[template]
    words = {
        "name": name,
        "story": kind.story,
        "data": kind.data,
        "options": " ".join(kind.options),
        "options_python": "".join(f', "{option}"' for option in kind.options),
        "instances": kind.instances,
    }
    texts = {}
    for part in ("common", template):
        for path, text in _tree(resources.files("airloom.project").joinpath("templates", part)):
            target = path.replace("package", name).replace("dot_", ".")
            if target.endswith(FILLED):
                target, text = target.removesuffix(FILLED), Template(text).substitute(words)
            texts[target] = text
    texts[f"{name}/__init__.py"] = f'"""{kind.story}"""\n'
    return texts


def _tree(folder: Traversable, before: str = "") -> Iterator[tuple[str, str]]:
    for entry in folder.iterdir():
        if entry.is_dir() and entry.name != "__pycache__":
            yield from _tree(entry, f"{before}{entry.name}/")
        elif entry.is_file():
            yield f"{before}{entry.name}", entry.read_text(encoding="utf-8")


def _write(folder: Path, files: dict[str, str]) -> None:
    """A new folder appears whole; in one that is there, what was written is taken back where a file fails."""
    if folder.exists():
        written: list[Path] = []
        try:
            for path, text in files.items():
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                with (folder / path).open("x", encoding="utf-8") as file:
                    written.append(folder / path)
                    file.write(text)
        except OSError:
            for file_ in written:
                file_.unlink(missing_ok=True)
            raise
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
        new = Path(temporary) / folder.name
        new.mkdir()
        _write(new, files)
        new.rename(folder)


def _first_commit(folder: Path) -> str:
    """Make the folder a repository with its files as the first commit, unless it lies in one."""
    if git.run(folder, "rev-parse", "--is-inside-work-tree"):
        return ""
    git.run(folder, "init", "-q", "-b", "main")
    git.run(folder, "add", "--all")
    git.run(folder, "commit", "-q", "-m", "A project of Airloom's")  # git refuses where it knows no author
    return git.run(folder, "rev-parse", "HEAD")
