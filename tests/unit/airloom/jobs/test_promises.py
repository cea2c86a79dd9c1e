"""What is said of a job that ended is what its next attempt does."""

import pytest

from airloom.errors import JobFailed, JobLost, StoppedByRequest
from airloom.jobs import files
from airloom.jobs.results import Failure, JobResult, write_result
from airloom.jobs.states import CANCELLED, LOST
from airloom.jobs.submit import first_of
from airloom.jobs.table import Attempts
from airloom.jobs.wait import value
from airloom.training.checkpointing.stop import GOES_ON


def ended(settings, state, number=1):
    folder = files.make_attempt(settings.make_home(), "k", number)
    write_result(folder, JobResult(ok=False, failure=Failure.of(StoppedByRequest("stopped", GOES_ON)), stopped=True))
    row = {"key": "k", "number": number, "folder": str(folder), "name": "m:f", "task": {}, "reason": "by a person"}
    return Attempts(settings.database_address).add(row | {"state": state})


@pytest.mark.parametrize(
    ("state", "kind", "first", "says"),
    [(CANCELLED, JobFailed, 2, "begins at step 0"), (LOST, JobLost, 1, "that was stopped goes on")],
)
def test_what_is_promised_of_the_next_attempt_is_what_it_does(settings, state, kind, first, says):
    before = ended(settings, state)
    with pytest.raises(kind) as caught:
        value(before)
    assert says in caught.value.hint
    assert ("goes on" in caught.value.hint) == (state == LOST)
    assert first_of([before], ended(settings, LOST, number=2)) == first
