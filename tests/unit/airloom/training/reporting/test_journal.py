import json
import subprocess
import sys
import threading
import time

import mlflow  # noqa: TID253 - a test of MLflow code
import pytest

from airloom.errors import MlflowRefused, RegistryError
from airloom.tracking import runs
from airloom.training.reporting.journal import Journal
from airloom.training.reporting.pictures import Pictures
from airloom.training.reporting.upload import Sender, Uploader


@pytest.fixture
def path(tmp_path):
    return tmp_path / "metrics.jsonl"


@pytest.fixture
def api(make_home, tmp_path):
    (tmp_path / "mlflow").mkdir()
    return runs.client(make_home(tmp_path / "mlflow"))


@pytest.fixture
def run_id(api):
    return api.create_run("0").info.run_id


def none(path, run_id):
    """No pictures of that run."""
    return Pictures(path.parent / "pictures", run_id)


def history(api, run_id, name="loss"):
    return [(point.step, point.value, point.timestamp) for point in api.get_metric_history(run_id, name)]


def test_a_step_is_taken_once_whatever_a_later_attempt_reports(path):
    first = Journal(path)
    assert first.add(0, {"loss": 1.0}) == {"loss": 1.0}
    assert first.add(0, {"loss": 9.0, "accuracy": 0.5}) == {"accuracy": 0.5}
    again = Journal(path)
    assert again.add(0, {"loss": 2.0}) == {}
    assert again.add(1, {"loss": 3.0}) == {"loss": 3.0}
    assert [(e.step, e.metrics) for e in again.entries(0)] == [
        (0, {"loss": 1.0}),
        (0, {"accuracy": 0.5}),
        (1, {"loss": 3.0}),
    ]
    assert again.last == {"loss": 3.0, "accuracy": 0.5}


@pytest.mark.parametrize("tail", [b'{"step": 1, "time": 5, "met', b'{"step": 1}\n', b"\x00\x00\x00", b"[]\n"])
def test_a_torn_last_line_is_dropped(path, tail, caplog):
    Journal(path).add(0, {"loss": 1.0})
    with path.open("ab") as file:
        file.write(tail)
    journal = Journal(path)
    assert "never finished" in caplog.text
    journal.add(1, {"loss": 2.0})
    assert [entry.step for entry in Journal(path).entries(0)] == [0, 1]


def test_a_full_disk_holds_reports_back_and_loses_none(tmp_path):
    code = f"""
import resource
from pathlib import Path
from airloom.training.reporting.journal import Journal
journal = Journal(Path({str(tmp_path)!r}) / "metrics.jsonl")
journal.add(0, {{"loss": 1.0}})
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (journal.end + 10, hard))
for step in range(1, 4):
    journal.add(step, {{"loss": 1.0}})
assert len(journal.waiting) == 3
assert [e.step for e in journal.entries(0)] == [0]
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
journal.add(4, {{"loss": 1.0}})
assert [e.step for e in journal.entries(0)] == [0, 1, 2, 3, 4]
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_mlflow_gets_each_report_once_with_its_own_time(path, api, run_id):
    journal = Journal(path)
    uploader = Uploader(journal, path.with_suffix(".sent"), api, run_id, none(path, run_id))
    for step in range(2500):
        journal.add(step, {"loss": step / 7})
    uploader.close()
    expected = [(entry.step, entry.metrics["loss"], entry.time) for entry in journal.entries(0)]
    assert history(api, run_id) == expected


def test_after_a_crash_what_mlflow_has_not_got_is_sent_and_nothing_twice(path, api, run_id):
    journal = Journal(path)
    for step in range(10):
        journal.add(step, {"loss": step / 7})
    entries = list(journal.entries(0))
    sent = path.with_suffix(".sent")
    # A crash right behind a request: MLflow has six entries, the file says four.
    api.log_batch(
        run_id, metrics=[mlflow.entities.Metric("loss", e.metrics["loss"], e.time, e.step) for e in entries[:6]]
    )
    sent.write_text(f"{entries[3].end}\n")
    time.sleep(0.01)
    Uploader(Journal(path), sent, api, run_id, none(path, run_id)).close()
    assert history(api, run_id) == [(e.step, e.metrics["loss"], e.time) for e in entries]
    sent.write_text(str(entries[3].end)[:1])  # cut by the crash: everything is sent again
    Uploader(Journal(path), sent, api, run_id, none(path, run_id)).close()
    assert len(history(api, run_id)) == 10


class Away:
    """A tracking server that does not answer for some requests; the rest goes to the real one."""

    def __init__(self, api, failures):
        self.api, self.failures, self.threads = api, failures, set()

    def log_batch(self, *args, **kwargs):
        self.threads.add(threading.get_ident())
        if self.failures:
            self.failures -= 1
            raise ConnectionError("refused")
        self.api.log_batch(*args, **kwargs)


def test_mlflow_away_does_not_disturb_and_catches_up(path, api, run_id, monkeypatch, caplog):
    monkeypatch.setattr("airloom.training.reporting.upload.INTERVAL", 0.02)
    journal = Journal(path)
    away = Away(api, 3)
    uploader = Uploader(journal, path.with_suffix(".sent"), away, run_id, none(path, run_id))
    for step in range(5):
        journal.add(step, {"loss": 1.0})
    until = time.monotonic() + 60
    while away.failures:
        assert time.monotonic() < until
        time.sleep(0.005)
    uploader.close(timeout=60)
    assert threading.get_ident() not in away.threads  # whoever reports a step never asks MLflow
    assert [step for step, _, _ in history(api, run_id)] == [0, 1, 2, 3, 4]
    assert "they wait in the journal" in caplog.text
    assert "takes metrics again" in caplog.text


def test_mlflow_away_to_the_end_is_said_and_the_next_attempt_sends(path, api, run_id):
    journal = Journal(path)
    journal.add(0, {"loss": 1.0})
    uploader = Uploader(journal, path.with_suffix(".sent"), Away(api, 10**6), run_id, none(path, run_id))
    with pytest.raises(RegistryError, match=r"the last 1 reports of run .*refused"):
        uploader.close(timeout=0.1)
    Uploader(Journal(path), path.with_suffix(".sent"), api, run_id, none(path, run_id)).close()
    assert len(history(api, run_id)) == 1


def test_what_mlflow_refuses_is_told_at_once_and_never_as_mlflow_being_away(path, api, run_id, monkeypatch):
    monkeypatch.setattr("airloom.training.reporting.upload.INTERVAL", 0.02)
    journal = Journal(path)
    uploader = Uploader(journal, path.with_suffix(".sent"), api, run_id, none(path, run_id))
    uploader.check()
    journal.add(0, {"hit@1": 1.0})
    until = time.monotonic() + 60
    with pytest.raises(MlflowRefused, match=r"does not take the reports of run .*INVALID_PARAMETER_VALUE.*hit@1"):
        while time.monotonic() < until:
            uploader.check()  # as the next report does
            time.sleep(0.005)
    with pytest.raises(MlflowRefused):
        uploader.close()  # without waiting for its minute
    assert time.monotonic() < until


def test_more_parameters_than_mlflow_takes_at_once_come_all(path, api, run_id):
    parameters = {f"p{number}": number for number in range(250)}
    sender = Sender(Journal(path), path.with_suffix(".sent"), api, run_id)
    params = [mlflow.entities.Param(name, str(value)) for name, value in parameters.items()]
    sender.finish([], [mlflow.entities.RunTag("a", "b")], params)
    assert len(api.get_run(run_id).data.params) == 250
    runs.log_parameters(api, run_id, {f"q{number}": number for number in range(250)})
    assert len(api.get_run(run_id).data.params) == 500


def test_lines_are_plain_json(path):
    Journal(path).add(3, {"loss": 0.1})
    (line,) = path.read_text().splitlines()
    assert json.loads(line) | {"time": 0} == {"step": 3, "time": 0, "metrics": {"loss": 0.1}}
    assert oct(path.stat().st_mode)[-3:] == "600"
