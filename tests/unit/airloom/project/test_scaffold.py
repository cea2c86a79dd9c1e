"""`airloom init`: what it writes, where it refuses, and that each template goes through."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from airloom import project_file
from airloom.errors import ConfigError
from airloom.project import scaffold
from airloom.spec.load import load_pipeline

TEMPLATES = sorted(scaffold.KINDS)


def airloom(*words: str, cwd: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRLOOM_")} | variables
    command = [sys.executable, *words] if words[0] == "-m" else [sys.executable, "-m", "airloom", *words]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_project_is_whole(tmp_path: Path, template: str) -> None:
    project = scaffold.init(tmp_path / "shop", template)
    folder = tmp_path / "shop"
    assert project_file.root(folder / "shop") == folder
    for name in ("README.md", ".gitignore", "shop/__init__.py", "shop/model.py", "shop/data.py", "dags/pipelines.py"):
        assert (folder / name).is_file(), name
    pipeline = load_pipeline(folder / "configs" / "pipelines" / "shop.yaml")
    assert (pipeline.pipeline, pipeline.train) == ("shop", "shop/model.py:train")
    assert json.loads((folder / "configs" / "expectations" / "shop.json").read_text())["name"] == "shop"
    written = "".join((folder / name).read_text() for name in project.files)
    assert "package" not in written.replace("a package and", "")
    assert all(command in (folder / "README.md").read_text() for command in ("python -m shop.data", "airloom run shop"))
    assert len(project.commit) == 40 or not project.commit  # where git knows no author


def test_the_first_commit_holds_every_file_and_a_repository_around_it_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"):
        monkeypatch.setenv(name, "Ada")
    for name in ("GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"):
        monkeypatch.setenv(name, "ada@example.org")
    project = scaffold.init(tmp_path / "shop", "text")
    listed = subprocess.run(["git", "-C", str(project.folder), "ls-files"], capture_output=True, text=True, check=True)
    assert sorted(listed.stdout.split()) == project.files
    subprocess.run(["git", "init", "-q", str(tmp_path / "company")], check=True)
    inner = scaffold.init(tmp_path / "company" / "shop", "text")
    assert not inner.commit
    assert not (inner.folder / ".git").exists()


def test_a_folder_that_is_there_keeps_its_own_files(tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "README.md").write_text("ours")
    (folder / "notes.txt").write_text("ours")
    project = scaffold.init(folder, "table")
    assert project.left == ["README.md"]
    assert (folder / "README.md").read_text() == "ours"
    assert (folder / "shop" / "model.py").is_file()


@pytest.mark.parametrize("name", ["Shop", "my-shop", "1shop", "torch", "json", "sys", "class", "a" * 41])
def test_a_name_that_could_not_be_a_package_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        scaffold.init(tmp_path / name, "blank")
    assert not list(tmp_path.iterdir())


def test_an_outer_project_and_files_that_are_there_are_named_and_nothing_is_written(tmp_path: Path) -> None:
    outer = scaffold.init(tmp_path / "outer", "blank")
    with pytest.raises(ConfigError, match="lies in the project"):
        scaffold.init(outer.folder / "inner", "blank")
    with pytest.raises(ConfigError, match="lies in the project"):
        scaffold.init(outer.folder, "blank")
    folder = tmp_path / "shop"
    (folder / "dags").mkdir(parents=True)
    (folder / "dags" / "pipelines.py").write_text("ours")
    with pytest.raises(ConfigError, match=r"has dags/pipelines\.py already"):
        scaffold.init(folder, "blank")
    assert sorted(path.name for path in folder.rglob("*")) == ["dags", "pipelines.py"]


def test_a_write_that_fails_leaves_nothing_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "tests").touch()  # where a folder has to be
    with pytest.raises(OSError, match="tests"):
        scaffold.init(folder, "blank")
    assert [path.name for path in folder.rglob("*") if path.is_file()] == ["tests"]


@pytest.mark.matrix("template", TEMPLATES, sample=["table"])
def test_a_template_goes_through_by_its_own_test(tmp_path: Path, template: str, warm_jobs: None) -> None:
    """Its data are made and accepted, its function trains, exports, is evaluated, and answers."""
    made = airloom("init", "shop", "--template", template, cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    played = airloom("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests", cwd=tmp_path / "shop")
    assert played.returncode == 0, played.stdout
    assert not (tmp_path / "shop" / ".airloom").exists()
    checked = airloom("pipeline", "check", "shop", cwd=tmp_path / "shop" / "configs")  # found from below
    assert "pipeline shop on dataset shop" in checked.stdout, checked.stderr


def test_init_says_what_comes_next_also_to_programs(tmp_path: Path) -> None:
    said = airloom("init", "shop", "--template", "text", cwd=tmp_path).stdout
    assert "airloom dataset create shop data/messages.csv --label topic" in said
    told = json.loads(airloom("init", "other", "--json", cwd=tmp_path).stdout)
    assert (told["name"], told["commands"][-1]) == ("other", "airloom run other")
    refused = airloom("init", "shop", cwd=tmp_path)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "lies in the project" in refused.stderr
