"""Which worker gets which tests of `make test`, and in which order; see tests/conftest.py."""

from collections import OrderedDict
from types import ModuleType
from unittest.mock import Mock

import pytest


@pytest.fixture
def schedule(pytestconfig: pytest.Config) -> ModuleType:
    found = pytestconfig.pluginmanager.get_plugin(str(pytestconfig.rootpath / "tests" / "conftest.py"))
    assert isinstance(found, ModuleType)
    return found


def test_the_files_that_begin_first_are_there(schedule: ModuleType, pytestconfig: pytest.Config) -> None:
    for name in (*schedule.LONGEST, *schedule.TRAINEE):
        assert (pytestconfig.rootpath / name).exists(), name


def test_the_longest_come_first_and_what_shares_a_stack_or_a_process_is_one(schedule: ModuleType) -> None:
    first, trainee = schedule.LONGEST[1], schedule.TRAINEE
    ids = ["tests/dags/test_dags.py::a", f"{first}::b", f"{trainee[1]}::c", "tests/system/test_loop.py::d"]
    ids += [f"{trainee[2]}::e", "tests/system/test_jobs.py::f", "tests/dags/test_dags.py::g"]
    files, sent = object.__new__(schedule.Files), []
    files.workqueue, files.assigned_work = OrderedDict(), {}
    for name in ids:
        files.workqueue.setdefault(files._split_scope(name), {})[name] = False
    node = Mock(send_runtest_some=sent.append)
    files.registered_collections = {node: ids}
    while files.workqueue:
        files._assign_work_unit(node)
    assert [[ids[number][-1] for number in unit] for unit in sent] == [["d", "f"], ["b"], ["c", "e"], ["a", "g"]]
