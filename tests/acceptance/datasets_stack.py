"""What `datasets.yaml` tries on the running stack, with bad input and with kept results: `datasets_stack.py ACTION`."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import yaml

from airloom.datasets.compact import compact
from airloom.errors import NothingChanged
from airloom.settings import Settings, load
from airloom.stack import control
from airloom.stack.airflow_api import AirflowApi

SYSTEM = Path(__file__).resolve().parents[1] / "system"


def _module(name: str) -> ModuleType:
    """A system test's own tools: what they do on the tests' stack, we do on this one."""
    spec = importlib.util.spec_from_file_location(name, SYSTEM / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def burst(settings: Settings) -> None:
    """Five versions committed while scheduler and triggerer are stopped; nothing changed; compaction; a restart."""
    tests = _module("test_announcements")
    with AirflowApi(settings) as api:
        ticks = tests.Ticks(SimpleNamespace(settings=settings, project=settings.project), api)
        ticks.commit()
        tests.until(lambda: ticks.finished(1))
        print("the first version: 1 run")
        with tests.stopped(settings, signal.SIGTERM, signal.SIGKILL):
            numbers = [ticks.commit() for _ in range(5)]
        tests.until(lambda: ticks.finished(6))
        ticks.check(6)
        print(f"versions {numbers} committed while both were stopped: 5 runs, each with its own version, in order")
        try:
            ticks.commit(seed=ticks.count)
        except NothingChanged as error:
            print(f"a commit without change: {error.message}")
        with tests.stopped(settings, signal.SIGKILL):
            print(f"compacted to revision {compact(settings, 'ticks')[1].revision}")
        control.wait_healthy(settings, print, 120)
        assert ticks.commit() == 7
        tests.until(lambda: ticks.finished(7))
        ticks.check(7)
        print("after another restart and one more version: 7 runs for 7 versions, none more")


def bad_input(settings: Settings) -> None:
    """Every row of bad_input.yaml that goes to a dataset command."""
    tests, refused = _module("test_bad_input"), 0
    before = _airloom("list", "--json").stdout
    for row in yaml.safe_load((SYSTEM / "bad_input.yaml").read_text()):
        if row["arguments"][0] != "dataset":
            continue
        with tempfile.TemporaryDirectory() as folder:
            tests.lay_out(row, Path(folder))
            arguments = (argument.replace("{tmp}", folder) for argument in row["arguments"][1:])
            variables = {name: text.replace("{tmp}", folder) for name, text in row.get("variables", {}).items()}
            done = _airloom(*arguments, variables=variables)
        missing = [text for text in row["says"] if text not in done.stderr]
        assert done.returncode and not missing and "Traceback" not in done.stderr, (row, done.stderr)
        refused += 1
    assert _airloom("list", "--json").stdout == before
    print(f"{refused} refused by name, no traceback, the same datasets as before")


def _airloom(*arguments: str, variables: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "airloom", "dataset", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | (variables or {}))


def speed(settings: Settings) -> None:
    """The kept result of `make bench NAME=datasets` against its targets."""
    kept = json.loads((settings.project / "benchmarks" / "results" / "datasets.json").read_text())
    missed = ", ".join(kept["missed"]) or "none"
    print(f"{len(kept['figures'])} figures at commit {kept['commit'][:12]}; missed: {missed}")


if __name__ == "__main__":
    known: list[Callable[[Settings], None]] = [burst, bad_input, speed]
    actions = {f.__name__.replace("_", "-"): f for f in known}
    actions[sys.argv[1]](load())
