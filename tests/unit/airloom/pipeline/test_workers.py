"""`airloom tune` and `airloom study`: a study without Airflow, over jobs, on a real dataset."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import yaml

from airloom.cli import study_view
from airloom.errors import JobFailed
from airloom.jobs.table import Attempts
from airloom.tuning import queries
from airloom.tuning.slots import TAKEN, Slots

MODEL = """
import time

def train(run):
    images, labels = run.tensors("train")
    done = {"steps": 0}
    for step in run.steps(4, done=done):
        time.sleep(0.25)
        done["steps"] += 1
        run.report(step, score=float(labels.float().mean()) / 10 - (run.params["x"] - 0.3) ** 2 + step)
"""


@pytest.fixture(scope="module")
def played(shared_home, digits, warm_jobs):
    """A study of two workers by the command line; one of the workers is killed amid a trial."""
    settings, key = shared_home, f"local/{time.time_ns()}"
    (settings.project / "tuned.py").write_text(MODEL)
    values = {
        "pipeline": "tuned",
        "dataset": {"name": "digits", "split": {"train": 0.6, "validation": 0.15, "test": 0.25}},
        "train": "tuned.py:train",
        "rehearse": False,  # it saves no model
        "tune": {"trials": 4, "workers": 2, "objective": {"metric": "score"}, "space": {"x": {"float": [0, 1]}}},
        "gate": {"at_least": {"accuracy": 0.5}, "against_champion": {"non_inferior_by": 0.1}},
    }
    file = settings.project / "tuned.yaml"
    file.write_text(yaml.safe_dump(values))
    command = [sys.executable, "-m", "airloom", "tune", str(file), "--key", key, "--json"]
    variables = os.environ | settings.as_environment()
    running = subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    slots, until = Slots(settings.database_address), time.monotonic() + 250
    while not (amid := [slot.worker for slot in slots.all(key) if slot.state == TAKEN and slot.resumes]):
        assert time.monotonic() < until, running.kill() or running.communicate()
        time.sleep(0.05)
    os.kill(Attempts(settings.database_address).newest(f"{key}/tune-{amid[0]}").pid, signal.SIGKILL)
    output, said = running.communicate()
    assert running.returncode == 0, said
    return settings, key, json.loads(output), said


def test_a_killed_worker_starts_again_and_the_study_ends_with_its_trials(played):
    settings, key, result, said = played
    assert (result["study"], result["trials"]) == (key, 4)
    assert "attempt 1 of" in said
    assert "the next one goes on" in said
    attempts = Attempts(settings.database_address)
    assert sorted(len(attempts.of(f"{key}/tune-{worker}")) for worker in (0, 1)) == [1, 2]
    tally = Slots(settings.database_address).tally(key)
    assert (tally.over, tally.taken, tally.failed) == (True, 0, "")


def test_list_show_and_best_say_the_same(played):
    settings, key, result, _ = played
    listed = next(study for study in queries.list_studies(settings) if study.study == key)
    assert (listed.state, listed.tally.finished, listed.tally.trials) == ("finished", 4, 4)
    shown = queries.show_study(settings, key)
    assert [slot.slot for slot in shown.slots] == [0, 1, 2, 3]
    assert all("x 0." in study_view.line(slot) for slot in shown.slots)
    best = queries.best_trials(settings, key, 2)
    assert best[0].to_dict() == {
        "trial": result["best_trial"],
        "values": {"score": result["best_value"]},
        "parameters": result["best_parameters"],
    }
    assert best[1].values["score"] <= best[0].values["score"]


def test_export_has_every_row_the_lost_ones_too(played):
    settings, key, _, _ = played
    rows = list(csv.DictReader(io.StringIO(queries.to_csv(settings, key))))
    assert sum(row["state"] in ("COMPLETE", "PRUNED") for row in rows) == 4
    lost = [row for row in rows if row["state"] == "FAIL"]
    assert lost
    assert all(row["attr.reason"].startswith("preempted") or "died" in row["attr.reason"] for row in lost)
    assert all(json.loads(row["steps"]) for row in rows if row["state"] == "COMPLETE")


def test_a_study_that_is_not_there_is_named(played):
    settings, *_ = played
    for look_at in (queries.show_study, queries.best_trials, queries.to_csv):
        with pytest.raises(JobFailed, match="there is no study nowhere"):
            look_at(settings, "nowhere")


def test_the_live_table_shows_those_in_work_and_the_newest(played):
    settings, key, *_ = played
    slots = Slots(settings.database_address).all(key)
    made = study_view.table(key, slots)
    assert made.row_count == 4
    assert made.title == f"{key}: 4 of 4"
