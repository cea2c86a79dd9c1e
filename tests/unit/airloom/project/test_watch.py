"""Files that are read without being declared, in this very process."""

import logging
import os
import subprocess
import sys

import pytest

from airloom.cache.manifest import declared
from airloom.errors import ConfigError
from airloom.project import watch
from airloom.project.packages import lock


@pytest.fixture
def project(tmp_path):
    for name in ("data/a.csv", "data/b.csv", "home/kept.db", "model.py", "written.txt", ".venv/site-packages/x.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    return tmp_path


def read(project, *names):
    for name in names:
        (project / name).read_bytes()


def test_only_undeclared_files_of_the_project_are_warned_of_once(project, caplog):
    note: dict[str, str] = {}
    with caplog.at_level(logging.WARNING), watch.reading(project, project / "home", ["data/a.csv"], note):
        read(project, "data/a.csv", "data/b.csv", "data/b.csv", "home/kept.db", "model.py", ".venv/site-packages/x.txt")
        (project / "written.txt").write_text("y")
        os.close(os.open(project / "data" / "b.csv", os.O_RDONLY))
    assert list(note) == ["data/b.csv"]
    assert [record.message for record in caplog.records] == [
        "data/b.csv is read by path, and no declared input: add it to `inputs:` of the pipeline file"
    ]
    with watch.reading(project, project / "home", ["data/a.csv"], note):
        read(project, "data/b.csv")
    assert len(caplog.records) == 1


def test_outside_the_block_nobody_listens(project):
    note: dict[str, str] = {}
    with watch.reading(project, project / "home", [], note):
        pass
    read(project, "data/b.csv")
    assert note == {}


def test_a_module_that_no_source_shows_is_noted(project, monkeypatch):
    (project / "hidden_one.py").write_text("")
    monkeypatch.syspath_prepend(str(project))
    note: dict[str, str] = {}
    with watch.reading(project, project / "home", [], note):
        __import__("_".join(["hidden", "one"]))
    assert list(note) == ["hidden_one.py"]


def test_a_process_of_airloom_is_nothing_that_the_project_reads(project):
    """A clone of Airloom is a project too: its jobs' processes are its own modules."""
    (project / "airloom").mkdir()
    (project / "airloom" / "job.py").write_text(
        "from pathlib import Path\nfrom airloom.project import watch\nnote = {}\nroot = Path.cwd()\n"
        "with watch.reading(root, root / 'home', [], note):\n    pass\nprint(note, watch.imported(root))\n"
    )
    # As the first of Airloom's packages, so that `-m airloom.job` is this file.
    start = (
        "import airloom, runpy; airloom.__path__.insert(0, 'airloom'); "
        "runpy.run_module('airloom.job', None, '__main__', True)"
    )
    done = subprocess.run([sys.executable, "-c", start], cwd=project, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "{} []"


def test_what_the_processes_of_trials_read_is_put_together(project):
    watch.keep(project / "study", {"a": "1"})
    (project / "study" / "read-0.json").write_text('{"b": "2"}')
    assert watch.kept(project / "study") == {"a": "1", "b": "2"}
    assert watch.kept(project / "nowhere") == {}


def test_declared_files_folders_and_patterns(project):
    assert list(declared(project, ["data", "written.txt"])) == ["data/a.csv", "data/b.csv", "written.txt"]
    assert list(declared(project, ["data/b*"])) == ["data/b.csv"]
    for wrong in ("nothing.txt", "data/*.parquet"):
        with pytest.raises(ConfigError, match="there is no file"):
            declared(project, [wrong])
    (project / "link").symlink_to("/etc/hostname")
    with pytest.raises(ConfigError, match="leads out of the project"):
        declared(project, ["link"])


def test_the_lock_is_what_is_installed_and_pinned(project):
    found = lock(project)
    assert found["torch"].startswith("2.")
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    (project / "constraints.txt").write_text("# a comment\nNumPy==2.1  # why\nscikit_learn == 1\n")
    pinned = {name: version for name, version in lock(project).items() if name.startswith("constraints.txt")}
    assert pinned == {"constraints.txt: numpy": "2.1"}
    assert lock(project, sys.executable) == lock(project)
    with pytest.raises(ConfigError, match="does not start"):
        lock(project, "/nowhere/python")
