import pytest

from airloom.errors import ConfigError
from airloom.project.functions import load_function


def test_a_function_of_a_project_file_is_found(settings):
    assert load_function(settings.project, "model.py:train").__name__ == "train"


def test_a_missing_function_names_those_that_are_there(settings):
    with pytest.raises(ConfigError, match=r"no function 'tran'(.|\n)*train, raises"):
        load_function(settings.project, "model.py:tran")


@pytest.mark.parametrize("place", ["../outside.py", "/etc/outside.py"])
def test_a_path_out_of_the_project_is_refused(settings, place):
    (settings.project.parent / "outside.py").write_text("def train(run): ...")
    with pytest.raises(ConfigError, match="outside the project"):
        load_function(settings.project, f"{place}:train")


@pytest.mark.parametrize("reference", ["nothing.py:train", "no_such_module_x:train", "model.py", ":train"])
def test_a_wrong_reference_is_a_config_error(settings, reference):
    with pytest.raises(ConfigError):
        load_function(settings.project, reference)


def test_a_file_that_does_not_import_says_why(settings):
    (settings.project / "bad.py").write_text("import no_such_thing_y")
    with pytest.raises(ConfigError, match="no_such_thing_y"):
        load_function(settings.project, "bad.py:train")
