"""The benchmarks' MLflow server: one that does not start ends the benchmark, with what the server said."""

import importlib.util
from pathlib import Path

import pytest

FILE = Path(__file__).resolve().parents[3] / "benchmarks" / "_mlflow.py"


def test_a_server_that_ends_is_an_error_with_its_log(tmp_path: Path, monkeypatch) -> None:
    spec = importlib.util.spec_from_file_location("benchmarks_mlflow", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "no place for $8"\nexit 1\n')
    python.chmod(0o755)
    monkeypatch.setattr(module.sys, "executable", str(python))
    with (
        pytest.raises(RuntimeError, match=r"does not answer at http://127\.0\.0\.1:\d+:\nno place for"),
        module.server(tmp_path / "mlflow"),
    ):
        pass
