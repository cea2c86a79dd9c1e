"""One started stack, with the demo played on it, for all system tests.

A test's time limit is for the test alone (`func_only`): the first one to ask would else pay for the demo.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from crash import matrix

from airloom.settings import Settings
from airloom.stack import control
from airloom.stack.airflow_api import AirflowApi

PROJECT = Path(__file__).resolve().parents[2]


class Airloom:
    """The command line as a user has it, in a project and a state folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.project, self.home = folder / "a project", folder / "a home"
        for name in ("configs", "examples", "dags"):
            shutil.copytree(PROJECT / name, self.project / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(PROJECT / "airloom.toml", self.project)
        for file in (PROJECT / "docs" / "how-to").glob("*.py"):
            shutil.copy(file, self.project / "dags")
        self.demo: dict = {}
        self.interrupted = ""

    @property
    def settings(self) -> Settings:
        return Settings(home=self.home, project=self.project)

    @property
    def environment(self) -> dict[str, str]:
        """Nearly nothing, and a HOME that is not there."""
        paths = f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}"
        return {"PATH": paths, "HOME": "/nonexistent", "AIRLOOM_HOME": str(self.home)}

    def run(
        self, *arguments: str, timeout: float = 900, variables: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "airloom", *arguments]
        return subprocess.run(
            command,
            cwd=self.project,
            env=self.environment | (variables or {}),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def outsider(self, *command: str) -> subprocess.CompletedProcess[str]:
        """What an acceptance row runs, on this stack: a script of tests/acceptance with its action."""
        script, *arguments = command
        return subprocess.run(
            [sys.executable, str(PROJECT / "tests" / "acceptance" / script), *arguments],
            cwd=self.project,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
            check=False,
        )

    def json(self, *arguments: str) -> dict:
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout)


@pytest.fixture(scope="package")
def airloom(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Airloom]:
    made = Airloom(tmp_path_factory.mktemp("system"))
    try:
        if pytestconfig.getoption("full"):
            # Ctrl-C while the first model trains; the demo that everything below looks at went on from there.
            made.interrupted = made.outsider("failures.py", "interrupted").stdout
        made.demo = made.json("demo")
        yield made
    finally:
        made.run("down")
        left = control.strays(made.settings)
        assert not left, f"processes outlived the stack: {left}"


@pytest.fixture(scope="package")
def airflow(airloom: Airloom) -> Iterator[AirflowApi]:
    """Airflow's API, when it knows the DAGs of the crashes."""
    matrix.install(airloom.project)
    with AirflowApi(airloom.settings) as api:
        matrix.await_dags(api)
        yield api


@pytest.fixture(scope="package")
def undisturbed(airloom: Airloom, airflow: AirflowApi) -> matrix.Baseline:
    """Steps and weights of a crash training that nobody disturbs."""
    return matrix.undisturbed(airloom.settings, airflow)
