"""Which files a training function stands on, from their source alone."""

import pytest

from airloom.project import source


@pytest.fixture
def project(tmp_path):
    files = {
        "model.py": "import helpers.net\nfrom helpers import extra as e\nimport torch, numpy\n",
        "helpers/__init__.py": "",
        "helpers/net.py": "from . import sizes\nfrom .deep.down import value\n",
        "helpers/sizes.py": "raise SystemExit('this must never run')\n",
        "helpers/extra.py": "def late():\n    import late_one\n",
        "helpers/deep/__init__.py": "from ..sizes import x\n",
        "helpers/deep/down.py": "import importlib\nimportlib.import_module('by_name')\nvalue = 1\n",
        "late_one.py": "import model\n",
        "by_name.py": "__import__('also')",
        "also.py": "",
        "unused.py": "",
        "README.md": "",
        ".venv/lib/python3.11/site-packages/numpy.py": "",
        "airloom/__init__.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_everything_that_is_imported_counts_however_deep_and_nothing_else(project):
    found = source.digests(project, project / "model.py")
    deep = ["helpers/__init__.py", "helpers/deep/__init__.py", "helpers/deep/down.py", "helpers/extra.py"]
    assert sorted(found) == sorted(
        ["also.py", "by_name.py", *deep, "helpers/net.py", "helpers/sizes.py", "late_one.py", "model.py"]
    )
    assert all(len(digest) == 64 for digest in found.values())


def test_a_file_that_is_no_python_stands_for_itself(project):
    (project / "model.py").write_text("def (:")
    assert list(source.digests(project, project / "model.py")) == ["model.py"]
    (project / "model.py").write_bytes(b"\0\xff")
    assert list(source.digests(project, project / "model.py")) == ["model.py"]


def test_names_that_lead_nowhere_or_out_are_left_alone(project):
    (project / "model.py").write_text("from .... import x\nfrom . import y\nimport a..b\n")
    assert list(source.digests(project, project / "model.py")) == ["model.py"]
    (project / "model.py").write_text("from .... import x\nimport nothing.at.all\nfrom helpers import *\n")
    assert set(source.digests(project, project / "model.py")) == {"model.py", "helpers/__init__.py"}


def test_a_folder_of_sources_on_the_path_counts(project, monkeypatch):
    (project / "lib").mkdir()
    (project / "lib" / "own.py").write_text("")
    (project / "model.py").write_text("import own, airloom\n")
    assert set(source.digests(project, project / "model.py")) == {"model.py"}
    monkeypatch.setenv("PYTHONPATH", str(project / "lib"))
    assert set(source.digests(project, project / "model.py")) == {"model.py", "lib/own.py"}


def test_an_installed_module_is_the_lock_s_affair_and_the_project_s_own_is_not(project):
    assert source.of_module(project, "torch") == []
    assert source.of_module(project, "json.decoder") == []
    names = [path.relative_to(project).as_posix() for path in source.of_module(project, "helpers.deep.down")]
    assert names == ["helpers/__init__.py", "helpers/deep/__init__.py", "helpers/deep/down.py"]
