"""A command that only reads makes no state folder, and says that there is nothing."""

import sys

import pytest

from airloom.cli.main import main

READING = [
    ["jobs", "list"],
    ["jobs", "show", "k"],
    ["jobs", "cancel", "k"],
    ["devices"],
    ["study", "list"],
    ["study", "show", "k"],
    ["model", "list"],
    ["model", "show", "digits/1"],
    ["dataset", "list"],
    ["dataset", "show", "digits"],
    ["dataset", "quarantine", "list"],
    ["trace", "digits/1"],
    ["impact", "digits@v1"],
    ["db", "check"],
    ["gc", "--dry-run"],
    ["status"],
    ["doctor"],
]


@pytest.mark.parametrize("words", READING, ids=" ".join)
def test_a_command_that_reads_makes_no_state(words, tmp_path, monkeypatch, capsys):
    for name in ("AIRLOOM_TRACKING_URI", "AIRLOOM_DATABASE", "MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("AIRLOOM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AIRLOOM_PROJECT", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["airloom", *words])
    with pytest.raises(SystemExit):
        main()
    said = capsys.readouterr()
    assert said.out or said.err
    assert not (tmp_path / "home").exists()
