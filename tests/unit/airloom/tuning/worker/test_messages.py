"""Worker and trial process understand each other, or one of them names what it did not understand."""

import json
import subprocess
import sys

import pytest

from airloom.contracts import Snapshot
from airloom.errors import JobFailed
from airloom.tuning.slots import Slots
from airloom.tuning.worker.messages import (
    KINDS,
    BrokenMessage,
    End,
    Ready,
    Reply,
    Report,
    RunTrial,
    Setup,
    Sync,
    TrialEnd,
    decode,
    encode,
    expect,
)
from airloom.tuning.worker.trial_process import TrialProcess

SNAPSHOT = Snapshot("s", "small", 1, "v", "c", {"train": 1.0}, {})
SETUP = Setup("model.py:curve", "", SNAPSHOT, 0, [], [])
MESSAGES = [
    SETUP,
    Setup("", ["python", "train.py"], SNAPSHOT, 3, [0, 2], ["model.py"]),
    Ready(),
    RunTrial({"x": 0.5, "layers": 2, "name": "adam"}, "/a folder/0-1"),
    Report(3, {"score": 0.25, "rows": 7}, -1),
    Sync(),
    Reply(go=False),
    TrialEnd(End.COMPLETE, samples=10, cpu_seconds=1, peak_memory=2**20),
    TrialEnd(End.FAILED, "no such layer", "the log has the traceback", "ValueError"),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_every_message_comes_as_it_was_sent(message):
    line = encode(message)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode(line) == message


def test_every_kind_is_tried():
    assert {type(message).__name__ for message in MESSAGES} == set(KINDS)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"hello\n", "hello: JSONDecodeError"),
        (b"[1]\n", "TypeError"),
        (b"{}\n", "KeyError: 'kind'"),
        (b'{"kind": "Shout"}\n', "KeyError: 'Shout'"),
        (b'{"kind": "Reply", "stay": true}\n', "unexpected keyword argument 'stay'"),
        (b'{"kind": "Report", "step": 1}\n', "missing 2 required positional arguments"),
        (b'{"kind": "Report", "step": "1", "metrics": {}, "resumed": 0}\n', "its step is of another type"),
        (b'{"kind": "TrialEnd", "end": "somehow"}\n', "'somehow' is not a valid End"),
        (b"\xff" * 9999, "UnicodeDecodeError"),
    ],
)
def test_what_is_no_message_is_named(line, why):
    with pytest.raises(BrokenMessage, match="do not understand each other: ") as error:
        decode(line)
    assert why in error.value.message
    assert len(error.value.message) < 500


def test_a_message_that_is_not_due_is_named():
    assert expect(Ready(), Ready) == Ready()
    with pytest.raises(BrokenMessage, match=r"\{.*Sync.*\}: Report is due"):
        expect(Sync(), Report)


def test_a_trial_process_names_what_it_did_not_understand(settings):
    process = TrialProcess(SETUP, threads=1)
    try:
        assert process.receive(60) == Ready()
        process.send(Reply())
        ended = process.receive(60)
    finally:
        process.end()
    assert (ended.end, ended.type) == (End.UNUSABLE, "BrokenMessage")
    assert ended.error.endswith("RunTrial is due")


def test_a_worker_names_what_it_did_not_understand_and_gives_the_slot_back(settings, make, ctx, tune, rows):
    with pytest.raises(JobFailed, match="do not understand each other: hello"):
        tune(make("babble", trials=1))
    assert [row.state.name for row in rows()] == ["FAIL"]
    (slot,) = Slots(settings.database_address).all(ctx.key)
    assert (slot.state, slot.faults, slot.preempted) == ("FREE", 0, 1)


def test_the_messages_load_nothing_heavy():
    code = "import json, sys, airloom.tuning.worker.messages; print(json.dumps(list(sys.modules)))"
    loaded = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
    assert not {"torch", "optuna", "mlflow", "sqlalchemy", "pydantic"} & set(loaded)
