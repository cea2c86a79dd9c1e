"""Job folders, checkpoints and prediction logs; real jobs and a clock that is set forward."""

import os
import time
from datetime import UTC, datetime, timedelta

import pytest

from airloom.jobs import files
from airloom.jobs.spec import JobSpec
from airloom.jobs.submit import submit
from airloom.jobs.table import Attempts
from airloom.jobs.wait import run_job, value, wait
from airloom.retention.items import TRASH

STEP = """
import time
from pathlib import Path
import os
def work(seconds):
    Path(os.environ["AIRLOOM_JOB_STATE"], "checkpoint").write_bytes(b"x" * 1000)
    time.sleep(seconds)
    return {"seconds": seconds}
"""


@pytest.fixture
def jobs(home, monkeypatch, tmp_path):
    (tmp_path / "steps.py").write_text(STEP)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    return home


def work(seconds: float) -> JobSpec:
    return JobSpec(step="steps:work", arguments={"seconds": seconds})


def run_to_its_end(settings, key: str) -> dict:
    """Until its supervisor is gone too, which lives a moment longer than the job."""
    done = run_job(settings, key, work(0))
    until = time.monotonic() + 120
    while any(files.is_locked(attempt.path) for attempt in Attempts(settings.database_address).of(key)):
        assert time.monotonic() < until
        time.sleep(0.02)
    return done


def test_an_old_job_goes_with_its_checkpoint_and_is_done_again_when_asked_for(jobs):
    assert run_to_its_end(jobs.settings, "a/train") == {"seconds": 0}
    young = jobs.plan("job", days=1)
    assert [(item.goes, item.why) for item in young.values()] == [(False, "it is younger than the retention")]
    checkpoints = jobs.plan("checkpoint")
    assert [(item.goes, item.bytes) for item in checkpoints.values()] == [(True, 1000)]
    jobs.collect()
    assert list((jobs.settings.home / "jobs").iterdir()) == []
    assert not list((jobs.settings.home / TRASH).iterdir())
    assert run_job(jobs.settings, "a/train", work(0)) == {"seconds": 0}
    assert [attempt.number for attempt in Attempts(jobs.settings.database_address).of("a/train")] == [1, 2]


@pytest.mark.parametrize(
    ("worker", "of"),
    [("a/run/tune-0", "a/run"), ("a/run/cnn/tune-0", "a/run/cnn"), ("a/run/cnn/tune_cnn-0", "a/run/cnn")],
)
def test_a_living_job_keeps_its_folder_its_study_and_what_it_reads(jobs, worker, of):
    attempt = submit(jobs.settings, worker, work(6))
    study = jobs.settings.home / "studies" / files.key_folder(jobs.settings.home, of).name
    other = study.with_name("other-0123456789ab")
    for folder in (study, other):
        folder.mkdir(parents=True)
        (folder / "metrics.jsonl").write_text("{}")
    jobs.collect()
    assert attempt.path.is_dir()
    assert (study.exists(), other.exists()) == (True, False)
    assert jobs.plan("checkpoint")[f"studies/{study.name}"].why == f"job {worker} lives"
    assert value(wait(jobs.settings, attempt)) == {"seconds": 6}


def test_a_job_that_begins_after_the_plan_is_left_alone(jobs):
    run_to_its_end(jobs.settings, "a/train")
    (item,) = [item for item in jobs.plan("job").values() if item.goes]
    attempt = submit(jobs.settings, "a/train", work(3), generation=1)
    assert item.take() == "a job of this key has begun meanwhile"
    assert value(wait(jobs.settings, attempt)) == {"seconds": 3}


def test_the_prediction_log_goes_day_by_day(home):
    log = home.settings.home / "predictions"
    today = datetime.now(UTC)
    for days in (0, 29, 40):
        day = log / f"date={today - timedelta(days=days):%Y-%m-%d}"
        day.mkdir(parents=True)
        (day / "part.parquet").write_bytes(b"PAR1")
    (log / "current.jsonl").write_text("{}\n")
    (log / "notes.txt").write_text("mine")
    (log / "date=2020-13-45").mkdir()
    assert home.plan("predictions", days=0, older_than=0.001)["predictions/current.jsonl"].why.startswith("the server")
    home.collect(days=0)
    left = sorted(path.name for path in log.iterdir())
    assert f"date={today - timedelta(days=40):%Y-%m-%d}" not in left
    assert len(left) == 5
    planned = home.plan("predictions", days=0)
    assert planned["predictions/notes.txt"].why == "it is no part of the log"
    home.collect()
    assert sorted(path.name for path in log.iterdir()) == ["date=2020-13-45", "notes.txt"]


def test_a_log_that_is_written_to_after_the_plan_stays(home):
    log = home.settings.home / "predictions" / "current.jsonl"
    log.parent.mkdir()
    log.write_text("{}\n")
    planned = home.plan("predictions", days=31)["predictions/current.jsonl"]
    assert planned.goes
    later = time.time() + 10 * 86_400
    os.utime(log, (later, later))
    assert planned.take() == "the server has written to it meanwhile"
    assert log.exists()


def test_what_a_killed_collection_left_in_the_trash_goes(home):
    left = home.settings.home / TRASH / "half"
    left.mkdir(parents=True)
    (left / "file").write_text("x")
    home.collect(days=0)
    assert not left.exists()
