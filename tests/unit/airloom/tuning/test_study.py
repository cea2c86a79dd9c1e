import dataclasses

import optuna  # noqa: TID253 - a test of Optuna code
import pytest

from airloom import tuning
from airloom.errors import ConfigError, JobFailed, StoppedByRequest
from airloom.metadata import tracking
from airloom.tuning.study import open_study, share


def run_all(settings, pipeline, ctx, data):
    tuning.create(settings, pipeline, ctx)
    for worker in range(pipeline.tune.workers):
        tuning.work(settings, pipeline, ctx, worker, data)


def children(settings, ctx, kind):
    api = tracking.client(settings)
    return api.search_runs([ctx.experiment], f"tags.`airloom.kind` = '{kind}'")


def test_shares_cover_every_slot_once():
    slots = [first + i for w in range(3) for first, count in [share(8, 3, w)] for i in range(count)]
    assert slots == list(range(8))


def test_a_study_ends_with_exactly_n_trials_and_n_child_runs(settings, pipeline, ctx, data):
    run_all(settings, pipeline, ctx, data)
    result = tuning.finish(settings, pipeline, ctx)
    assert (result.study, result.trials) == (ctx.key, 5)
    assert set(result.best_parameters) == {"width"}
    runs = children(settings, ctx, "trial")
    assert len(runs) == 5
    assert {r.data.params["epochs"] for r in runs} == {"2"}
    parent = tracking.client(settings).get_run(ctx.mlflow_run).data
    assert parent.params["best.width"] == str(result.best_parameters["width"])
    again = tuning.work(settings, pipeline, ctx, 0, data)
    assert again == {"worker": 0, "trials": 3, "failed": 0}
    assert tuning.finish(settings, pipeline, ctx) == result


@pytest.mark.parametrize("error", [KeyboardInterrupt(), StoppedByRequest("stopped")])
def test_a_killed_or_stopped_worker_goes_on_with_the_same_parameters(settings, make, ctx, data, error):
    pipeline = make(trials=3, workers=1)
    tuning.create(settings, pipeline, ctx)

    class Dying:
        """Whoever reads the training split for the second time, in the second trial, is interrupted."""

        calls = 0

        def __getattr__(self, name):
            return getattr(data, name)

        def tensors(self, split):
            self.calls += split == "train"
            if self.calls == 2:
                raise error
            return data.tensors(split)

    with pytest.raises(type(error)):
        tuning.work(settings, pipeline, ctx, 0, Dying())
    lost = open_study(settings, pipeline, ctx).trials[1]
    assert lost.state == optuna.trial.TrialState.RUNNING
    tuning.work(settings, pipeline, ctx, 0, data)
    assert tuning.finish(settings, pipeline, ctx).trials == 3
    trials = open_study(settings, pipeline, ctx).trials
    assert trials[2].params == trials[1].params
    assert [t.state.name for t in trials] == ["COMPLETE", "FAIL", trials[2].state.name, trials[3].state.name]


def test_finish_says_how_many_are_missing(settings, pipeline, ctx, data):
    tuning.create(settings, pipeline, ctx)
    tuning.work(settings, pipeline, ctx, 1, data)
    with pytest.raises(JobFailed, match="2 of 5"):
        tuning.finish(settings, pipeline, ctx)


def test_three_failures_in_a_row_end_the_worker_with_the_reason(settings, make, ctx, data):
    pipeline = make("model.py:raises")
    tuning.create(settings, pipeline, ctx)
    with pytest.raises(JobFailed, match="ValueError: no such layer"):
        tuning.work(settings, pipeline, ctx, 0, data)
    trials = open_study(settings, pipeline, ctx).trials
    assert [t.state.name for t in trials] == ["FAIL"] * 3
    assert "no such layer" in trials[0].user_attrs["reason"]


def test_a_metric_never_reported_is_named_beside_those_that_were(settings, make, ctx, data):
    pipeline = make("model.py:silent")
    tuning.create(settings, pipeline, ctx)
    with pytest.raises(JobFailed, match=r"'validation_accuracy'.*reported: loss"):
        tuning.work(settings, pipeline, ctx, 0, data)


def test_an_override_fixes_a_searched_parameter(settings, make, ctx, data):
    pipeline = make("model.py:constant", trials=2, workers=1)
    ctx = dataclasses.replace(ctx, parameters={"width": 12})
    run_all(settings, pipeline, ctx, data)
    assert tuning.finish(settings, pipeline, ctx).best_parameters == {}
    assert {r.data.params["width"] for r in children(settings, ctx, "trial")} == {"12"}


def test_a_missing_function_or_study_is_said_before_any_trial(settings, make, ctx, data):
    with pytest.raises(ConfigError):
        tuning.work(settings, make("model.py:nothing"), ctx, 0, data)
    with pytest.raises(JobFailed, match="no study"):
        tuning.work(settings, make(), ctx, 0, data)
