"""docs/reference is what the program itself says."""

import importlib.util
from dataclasses import fields
from pathlib import Path
from types import ModuleType

import pytest

from airloom import project_file
from airloom.settings import Settings

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", DOCS / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pages_are_up_to_date(reference: ModuleType) -> None:
    for name, text in reference.pages().items():
        assert (DOCS / "reference" / name).read_text() == text, f"`make reference` writes docs/reference/{name} anew"


def test_every_setting_is_a_key_of_the_file_or_a_secret() -> None:
    known = {*project_file.KEYS, *project_file.SECRETS, *project_file.PERSONAL, "project"}
    assert {field.name for field in fields(Settings) if field.init} == known
