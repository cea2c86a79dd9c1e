"""What `airloom jobs` and `airloom devices` print for programs."""

from dataclasses import asdict, replace

from airloom.jobs import control, devices, files
from airloom.jobs.submit import host


def add(table, settings, number, **values):
    folder = files.make_attempt(settings.home, f"k{number}", 1)
    row = {"key": f"k{number}", "number": 1, "folder": str(folder), "name": "step", "host": host(), "task": {}}
    return table.add({**row, **values}), files.try_lock(folder)


def test_an_attempt_is_printed_as_the_table_has_it_and_one_that_waits_with_its_place(settings, table):
    running, _ = add(table, settings, 1, state="LAUNCHING")
    first, _ = add(table, settings, 2, wanted=1)
    second, _ = add(table, settings, 3, wanted=2)
    listed = [status.to_dict() for status in control.list_jobs(settings)]
    assert listed == [asdict(second) | {"position": 2}, asdict(first) | {"position": 1}, asdict(running)]
    assert [status.to_dict() for status in control.show(settings, "k2")] == [asdict(first) | {"position": 1}]


def test_a_device_is_printed_with_who_holds_it(settings, table):
    attempt, _ = add(table, settings, 1, state="LAUNCHING")
    names = devices.discover(2)
    devices.lease(settings.home, names, 1, devices.Lease(attempt.id, attempt.key, 1, attempt.folder))
    uses = [use.to_dict() for use in control.list_devices(replace(settings, devices=2))]
    assert uses == [
        {"device": "pretended:0", "key": "k1", "attempt": 1},
        {"device": "pretended:1", "key": "", "attempt": 0},
    ]
