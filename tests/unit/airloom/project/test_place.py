"""The line that is named is the user's own, also where a library raised."""

import importlib.util
import json
import re

import pytest

from airloom.errors import ConfigError
from airloom.project.functions import load_function
from airloom.project.place import own_line

CODE = """
import json

def load(text):
    return json.loads(text)

def train(run):
    load("{")
"""


def raised(path):
    spec = importlib.util.spec_from_file_location("own", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with pytest.raises(json.JSONDecodeError) as caught:
        module.train(None)
    return caught.value, module.train.__code__.co_filename


def test_of_the_project(tmp_path):
    (tmp_path / "model.py").write_text(CODE)
    error, _ = raised(tmp_path / "model.py")
    assert own_line(error) == f"{tmp_path / 'model.py'}:5"


def test_of_a_project_that_is_installed_as_a_package(tmp_path):
    folder = tmp_path / "site-packages" / "theirs"
    folder.mkdir(parents=True)
    (folder / "model.py").write_text(CODE)
    error, file = raised(folder / "model.py")
    assert own_line(error, file) == f"{folder / 'model.py'}:5"


def test_without_any_own_line_it_is_the_last():
    with pytest.raises(re.error) as caught:
        re.compile("(")
    error = caught.value.with_traceback(caught.value.__traceback__.tb_next)
    assert re.search(r"re/_parser\.py:\d+$", own_line(error))
    assert own_line(ValueError()) == "no line"


def test_a_file_that_cannot_be_imported_names_its_line(tmp_path):
    (tmp_path / "model.py").write_text("import json\n\njson.loads('{')\n")
    with pytest.raises(ConfigError, match=r"cannot be imported: JSONDecodeError: .*model\.py:3\)"):
        load_function(tmp_path, "model.py:train")
