"""A batch prediction as a job: found again, gone on with, asked twice at once, stopped."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import airloom
from airloom.cli.main import app
from airloom.errors import ConfigError, JobFailed
from airloom.jobs.table import Attempts
from airloom.prediction.folder import Folder
from airloom.prediction.request import Asked, fix

pytestmark = pytest.mark.timeout(900)


def attempts(world, request, target: str = "") -> int:
    return len(Attempts(world.settings.database_address).of(request.job_key(world.settings, target)))


def test_two_at_once_are_one_job_and_a_third_finds_it(world, model, monkeypatch, tmp_path, warm_jobs) -> None:
    made, request = [], fix(world.settings, Asked(model, "digits@v1"))
    both = [
        threading.Thread(target=lambda: made.append(airloom.predict(model, "digits@v1", progress=None))) for _ in "ab"
    ]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert [one.rows for one in made] == [400, 400]
    assert attempts(world, request) == 1
    lines: list[str] = []
    third = airloom.predict(model, "digits@v1", progress=lines.append)
    assert third.record.found
    assert not lines
    assert attempts(world, request) == 1
    assert third.frame().shape[0] == 400
    before = pq.read_table(third.path)
    again = airloom.predict(model, "digits@v1", again=True, progress=lines.append)
    assert not again.record.found
    assert attempts(world, request) == 2
    assert pq.read_table(again.path).equals(before)
    assert any("400 of 400 rows" in line for line in lines)
    monkeypatch.chdir(tmp_path)
    out = airloom.predict(model, "digits@v1", out="answers.parquet", progress=lines.append)
    assert out.path == tmp_path / "answers.parquet"
    assert airloom.predict(model, "digits@v1", out="answers.parquet").record.found
    assert pq.read_table(out.path).equals(before)
    assert third.trace().batch.rows == 400
    with pytest.raises(ConfigError, match="give a list of names"):
        airloom.predict(model, "digits@v1", columns="label")


def test_the_command_says_what_it_did_and_a_failed_job_why(world, model, tmp_path: Path, warm_jobs) -> None:
    from typer.testing import CliRunner

    out = tmp_path / "answers.parquet"
    done = CliRunner().invoke(app, ["predict", model, "digits@v1", "--out", str(out), "--columns", "label", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["rows"], told["out"], told["model"]) == (400, str(out), model)
    assert "label" in pq.read_schema(out).names
    request = fix(world.settings, Asked(model, "digits@v2"))
    folder = Folder(world.settings, request.id)
    folder.parts.mkdir(parents=True)
    folder.keep("plan.json", {"parts": [1]})
    with pytest.raises(JobFailed, match="was planned for 1 rows, digits@v2 has 800") as caught:
        airloom.predict(model, "digits@v2", progress=None)
    assert "remove the folder" in caught.value.hint


STOPPED = """
import os, signal, sys, threading
from airloom.cli.main import main
from airloom.prediction import job

seen = job.run_job
def interrupted(settings, key, spec, on_line, generation):
    def line(text):
        on_line(text)
        if "first part" in text:
            os.kill(os.getpid(), signal.SIGINT)
    return seen(settings, key, spec, on_line=line, generation=generation)
job.run_job = interrupted
sys.argv = ["airloom", "predict", *sys.argv[1:]]
main()
"""


@pytest.mark.long  # quick: test_killed.py, whose kills are harder
def test_ctrl_c_keeps_what_is_answered_and_says_how_to_go_on(world, model, tmp_path: Path) -> None:
    slow = tmp_path / "sitecustomize.py"
    slow.write_text(
        "import sys\n"
        "def slow(*a, seen=[]):\n"
        "    import time\n    from airloom.prediction import folder, planning\n"
        "    planning.parts_of.__defaults__ = (50,)\n"
        "    add = folder.Folder.add\n"
        "    def later(self, *args):\n"
        "        made = add(self, *args)\n        print('first part', flush=True)\n"
        "        time.sleep(3)\n        return made\n"
        "    folder.Folder.add = later\n"
        "if any('airloom.jobs.child' in word for word in sys.orig_argv):\n    slow()\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    command = [sys.executable, "-c", STOPPED, model, "digits@v1"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode != 0
    assert "stopped: what is answered is kept; the same command goes on" in done.stderr
    assert "Traceback" not in done.stderr
    request = fix(world.settings, Asked(model, "digits@v1"))
    assert 0 < len(Folder(world.settings, request.id).finished()) < 8
    assert airloom.predict(model, "digits@v1", progress=None).rows == 400
