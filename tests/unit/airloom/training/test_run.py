"""What a training function may report."""

import pytest
import torch  # noqa: TID253 - a test of torch code

from airloom.errors import ConfigError, JobFailed, NameRefused


def test_a_loss_may_have_its_gradient_still(start):
    sink = start(lambda run: run.report(0, loss=torch.ones((), requires_grad=True) * 2, rate=0.5, rows=torch.tensor(3)))
    assert sink.reports == {0: {"loss": 2.0, "rate": 0.5, "rows": 3.0}}


def test_a_name_that_mlflow_does_not_take_is_refused_at_once(start):
    with pytest.raises(NameRefused, match="no metric called 'hit@1'") as caught:
        start(lambda run: run.report(0, **{"loss": 1.0, "hit@1": 0.5}))
    assert caught.value.hint == "call it 'hit_1'"
    assert start.last.reports == {}


def test_the_place_of_a_failure_is_ones_own_line(start):
    def function(run):
        torch.zeros(2, 3) @ torch.zeros(2, 3)  # torch raises, in C

    def deep(run):
        torch.nn.Linear(3, 2)(torch.zeros(2, 5))

    for called in (function, deep):
        line = called.__code__.co_firstlineno + 1
        with pytest.raises(JobFailed, match=rf"RuntimeError: .*test_run\.py:{line}\)"):
            start(called)


@pytest.mark.parametrize("rtol", [0, -1, 0.5, float("nan")])
def test_a_tolerance_is_a_small_share(start, rtol):
    with pytest.raises(ConfigError, match="rtol is"):
        start(lambda run: run.save_model(torch.nn.Linear(2, 2), torch.zeros(2, 2), rtol=rtol))
