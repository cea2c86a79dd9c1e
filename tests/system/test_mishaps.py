"""Things that go wrong: the acceptance's own rows, tried on the tests' stack. After test_loop.py, as models change."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from airloom.stack import config, control
from airloom.stack.airflow_api import AirflowApi

pytestmark = [pytest.mark.system, pytest.mark.timeout(900, func_only=True)]
FILE = Path(__file__).resolve().parents[1] / "acceptance" / "loop.yaml"
ROWS = {row["run"][-1]: row for row in yaml.safe_load(FILE.read_text()) if "tests/acceptance/failures.py" in str(row)}


def check(row: dict, output: str) -> None:
    for text in row["expect"]:
        assert re.search(text, output), f"{text!r} is not in: {output[-3000:]}"


@pytest.mark.long
def test_ctrl_c_of_the_demo_left_no_process_and_a_state_that_the_next_demo_accepted(airloom) -> None:
    check(ROWS["interrupted"], airloom.interrupted)
    assert airloom.demo["rounds"]["first"]["passed"]


@pytest.mark.matrix("action", [row for row in ROWS if row != "interrupted"], sample=["missing-dataset"])
def test_a_mishap_ends_in_a_message_and_the_retry_continues(airloom, action: str) -> None:
    done = airloom.outsider("failures.py", action)
    assert done.returncode == 0, done.stdout[-3000:]
    check(ROWS[action], done.stdout)


@pytest.mark.long  # make accept NAME=loop plays it too; `make test` kills stacks in unit/airloom/stack
def test_everything_killed_then_the_demo_again_then_nothing_left(airloom) -> None:
    """The last test: it ends the stack."""
    refused = airloom.demo["rounds"]["permuted labels"]["run"]
    with AirflowApi(airloom.settings) as api:  # as if interrupted more often than the task has retries
        for place, state in (("/taskInstances/gate", {"new_state": "failed"}), ("", {"state": "failed"})):
            api._request("PATCH", f"/api/v2/dags/digits/dagRuns/{refused}{place}", json=state)
    for process in control.strays(airloom.settings):
        with contextlib.suppress(ProcessLookupError):  # some end with their parents
            os.kill(process.pid, signal.SIGKILL)
    until = time.monotonic() + 60
    while control.supervisor_pid(airloom.settings) and time.monotonic() < until:  # the kernel takes a moment
        time.sleep(0.05)
    assert control.supervisor_pid(airloom.settings) is None
    again = airloom.json("demo")
    assert again["served"]
    assert not again["rounds"]["permuted labels"]["passed"]
    assert again["rounds"]["second"]["traffic"]["failed"] == 0
    sleeper = [sys.executable, "-c", "import time; time.sleep(300)"]
    orphan = subprocess.Popen(sleeper, env={config.MARK: str(airloom.home)}, start_new_session=True)
    assert airloom.run("down").returncode == 0
    assert orphan.wait(timeout=60)
    assert control.strays(airloom.settings) == []
