"""What counts as the environment of a step."""

import sys

import pytest

from airloom.project.packages import installed, lock


@pytest.fixture
def site(tmp_path, monkeypatch):
    """An environment of its own."""
    folder = tmp_path / "site-packages"
    monkeypatch.setattr(sys, "path", [str(folder)])

    def install(*names):
        for name in names:
            (folder / f"{name}.dist-info").mkdir(parents=True)

    return install


def test_a_test_library_is_no_part_of_it(site, tmp_path):
    site("torch-2.13.0", "numpy-2.3.1")
    before = lock(tmp_path)
    site("pytest-9.0.1", "pytest_xdist-3.8.0", "hypothesis-6.150.0", "ruff-0.17.0", "types_PyYAML-6.0.12", "pip-26.0")
    assert lock(tmp_path) == before
    assert before["torch"] == "2.13.0"


def test_what_a_training_may_import_is(site, tmp_path):
    site("torch-2.13.0")
    before = lock(tmp_path)
    site("types-1.0", "pytestlike-1.0", "mypymodel-1.0")
    assert set(lock(tmp_path)) - set(before) == {"types", "pytestlike", "mypymodel"}


def test_each_package_stands_in_a_line_with_its_version():
    python, *lines = installed().splitlines()
    assert python.startswith(f"# Python {sys.version.split()[0]}")
    assert lines == sorted(set(lines))
    assert f"pytest=={pytest.__version__}" in lines
