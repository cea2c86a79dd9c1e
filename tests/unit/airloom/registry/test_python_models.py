"""Who may run a version that is Python code."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from airloom.errors import RegistryError
from airloom.registry import python_models
from airloom.tracking.artifacts import ONNX, PYTHON
from airloom.tracking.tags import Tag


def version(name: str, *files: str) -> SimpleNamespace:
    return SimpleNamespace(name=name, version="3", tags={Tag.DIGESTS: json.dumps(dict.fromkeys(files, "d1"))})


def test_code_of_another_installation_does_not_run_here() -> None:
    here = SimpleNamespace(installation="prod", project=Path("here"))
    assert python_models.project_of(here, version("prod.net", PYTHON)) == here.project
    assert python_models.project_of(here, version("dev.net", ONNX)) == here.project  # whose graph is data
    for name in ("dev.net", "net"):
        with pytest.raises(RegistryError, match="Python code of another installation") as refused:
            python_models.project_of(here, version(name, PYTHON))
        assert f"{name}/3" in refused.value.message and "airloom predict" in refused.value.hint


def test_the_model_server_runs_graphs_only() -> None:
    here = SimpleNamespace(installation="", project=Path("here"))
    python_models.check_served(here, version("net", ONNX))
    with pytest.raises(RegistryError, match=r"net/3 is Python code .* the model server does not run") as refused:
        python_models.check_served(here, version("net", PYTHON))
    assert "airloom.load_model" in refused.value.hint
