"""A worker runs a study to its end: what it leaves in Optuna, in the slots and in MLflow."""

import dataclasses
import threading
from itertools import combinations

import pytest
from mlflow import MlflowClient  # noqa: TID253 - a test of what MLflow is asked for
from mlflow.exceptions import MlflowException  # noqa: TID253
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE  # noqa: TID253

from airloom.errors import ConfigError, JobFailed, MlflowRefused
from airloom.tracking import runs as mlflow_runs
from airloom.tuning.slots import Slots
from airloom.tuning.study import create
from airloom.tuning.summary import finish
from airloom.tuning.worker import main, recorder
from airloom.tuning.worker.main import work
from airloom.tuning.worker.recorder import Recorder


def states(rows):
    return [row.state.name for row in rows]


def test_a_study_ends_with_exactly_n_trials_and_n_child_runs(settings, make, ctx, tune, rows, runs):
    pipeline = make(trials=4, pruner={"name": "threshold", "lower": 0.2})
    assert tune(pipeline) == {"worker": 0, "trials": 4, "failed": 0, "over": ""}
    result = finish(settings, pipeline, ctx)
    found = rows()
    assert (result.study, result.trials) == (ctx.key, 4)
    assert set(states(found)) <= {"COMPLETE", "PRUNED"}
    assert [row.user_attrs["slot"] for row in found] == [0, 1, 2, 3]
    best = max((row for row in found if row.state.name == "COMPLETE"), key=lambda row: row.value)
    assert (result.best_trial, result.best_parameters) == (best.number, best.params)
    children = runs()
    assert len(children) == 4
    assert {run.info.status for run in children} == {"FINISHED"}
    assert {int(run.data.tags["airloom.trial"]) for run in children} == {0, 1, 2, 3}
    one = next(run for run in children if int(run.data.tags["airloom.trial"]) == best.number)
    assert one.data.params == {"x": str(best.params["x"])}
    assert one.data.tags["airloom.state"] == "COMPLETE"
    assert one.data.tags["airloom.study"] == ctx.key
    assert one.data.metrics["cost.cpu_seconds"] >= 0
    api = mlflow_runs.client(settings)
    assert [point.step for point in api.get_metric_history(one.info.run_id, "score")] == [0, 1, 2]
    pictures = {path.path.rpartition("/")[2] for path in api.list_artifacts(ctx.mlflow_run, "study")}
    assert pictures >= {"history.png", "timeline.png", "slice.png", "parallel_coordinates.png", "importances.png"}
    assert work(settings, pipeline, ctx, 0)["trials"] == 0
    assert finish(settings, pipeline, ctx) == result


def test_a_finished_study_grows_and_never_shrinks(settings, make, ctx, tune, rows, runs):
    tune(make(trials=2))
    finish(settings, make(trials=2), ctx)
    assert tune(make(trials=4))["trials"] == 2
    assert finish(settings, make(trials=4), ctx).trials == 4
    assert states(rows()) == ["COMPLETE"] * 4
    assert len(runs()) == 4
    with pytest.raises(ConfigError, match=r"has 4 trials, tune\.trials is 3"):
        create(settings, make(trials=3), ctx)


def test_a_study_exists_with_its_objectives(settings, make, ctx):
    create(settings, make(), ctx)
    other = make(objective={"metric": "score", "direction": "minimize"})
    with pytest.raises(ConfigError, match="exists with the objectives maximize score, the file has minimize score"):
        create(settings, other, ctx)


def test_a_trial_that_raises_costs_a_row_and_its_slot_begins_anew(settings, make, ctx, tune, rows, runs):
    pipeline = make("raises", trials=4, parameters={"limit": 0.5}, failures=50)
    done = tune(pipeline)
    found = rows()
    assert states(found).count("COMPLETE") == 4
    failed = [row for row in found if row.state.name == "FAIL"]
    assert done["failed"] == len(failed) > 0
    assert all("ValueError: no such layer" in row.user_attrs["reason"] for row in failed)
    assert finish(settings, pipeline, ctx).trials == 4
    assert {run.info.status for run in runs()} == {"FINISHED"}
    aside = runs("failed_trial")
    assert len(aside) == len(failed)
    assert {run.info.status for run in aside} == {"FAILED"}


def test_past_the_limit_of_failures_the_study_fails_and_says_k_of_n(settings, make, ctx, tune, rows):
    pipeline = make("raises", trials=10, failures=2)
    with pytest.raises(JobFailed, match=r"0 of 10 trials finished: 3 trials failed, the last with: .*no such layer"):
        tune(pipeline)
    assert states(rows()) == ["FAIL"] * 3
    with pytest.raises(JobFailed, match="0 of 10"):  # a retry burns no more trials
        work(settings, pipeline, ctx, 0)
    assert len(rows()) == 3
    with pytest.raises(JobFailed, match="0 of 10 trials finished: 3 trials failed"):
        finish(settings, pipeline, ctx)
    create(settings, pipeline, ctx)  # started anew by a person
    with pytest.raises(JobFailed, match="0 of 10"):
        work(settings, pipeline, ctx, 0)
    assert len(rows()) == 6


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("silent", r"0 of 2 trials finished: the objective 'score' was never reported; reported: other"),
        ("nothing", r"0 of 2 trials finished: the objective 'score' was never reported; reported: nothing"),
        ("nan", r"0 of 2 trials finished: \d trials failed, the last with: training diverged: score is nan in step 0"),
    ],
)
def test_an_objective_that_is_no_number_or_never_comes_fails_the_study(
    settings, make, ctx, tune, rows, function, message
):
    with pytest.raises(JobFailed, match=message):
        tune(make(function, trials=2, failures=1))
    assert set(states(rows())) == {"FAIL"}


def test_a_metric_that_mlflow_does_not_take_is_told_at_its_first_report(settings, make, ctx, tune, rows):
    with pytest.raises(ConfigError, match=r"MLflow takes no metric called 'hit@1'.*") as caught:
        tune(make("at", trials=8))
    assert caught.value.hint == "call it 'hit_1'"
    assert len(rows()) == 1
    assert Slots(settings.database_address).tally(ctx.key).taken == 0


def test_what_mlflow_refuses_of_a_trial_ends_the_worker_without_waiting_for_it(
    settings, make, ctx, tune, monkeypatch, rows
):
    monkeypatch.setattr(recorder, "PAUSE", 0.05)

    def refuse(*_):
        raise MlflowException("too long", INVALID_PARAMETER_VALUE)

    monkeypatch.setattr(recorder.runs, "log_parameters", refuse)
    monkeypatch.setattr(recorder, "finish_run", refuse)
    with pytest.raises(MlflowRefused, match="MLflow does not take a trial of small/manual__1: INVALID_PARAMETER_VALUE"):
        tune(make(trials=40, parameters={"sleep": 0.02}))
    assert len(rows()) < 40


def test_a_missing_function_or_study_is_said_before_any_trial(settings, make, ctx, tune, rows):
    with pytest.raises(JobFailed, match="no study"):
        work(settings, make(), ctx, 0)
    with pytest.raises(ConfigError, match="no function 'missing'"):
        tune(make("missing"))
    assert rows() == []
    assert Slots(settings.database_address).tally(ctx.key).taken == 0


def test_an_override_fixes_a_searched_parameter(settings, make, ctx, tune, runs):
    fixed = dataclasses.replace(ctx, parameters={"x": 0.25})
    tune(make(trials=2), fixed)
    assert finish(settings, make(trials=2), fixed).best_parameters == {}
    assert {run.data.params["x"] for run in runs()} == {"0.25"}


def test_a_function_may_define_the_space(settings, make, ctx, tune, rows):
    pipeline = make(trials=3, space_function="model.py:space")
    tune(pipeline)
    best = finish(settings, pipeline, ctx).best_parameters
    assert set(best) == {"layers", "x"}
    assert all(set(row.params) == {"layers", *(f"x{i}" for i in range(row.params["layers"]))} for row in rows())


def test_a_budget_ends_a_study_with_what_it_has_and_a_larger_one_goes_on(settings, make, ctx, tune, rows):
    quick = {"sleep": 0.5, "steps": 1}
    small = make(trials=30, parameters=quick, budget={"device_seconds": 6})
    done = tune(small)
    assert "tune.budget.device_seconds: its 6 s are over" in done["over"]
    result = finish(settings, small, ctx)
    assert 1 <= result.trials < 30
    assert result.over == done["over"]
    assert "RUNNING" not in states(rows())
    large = make(trials=30, parameters=quick, budget={"device_seconds": 9})
    tune(large)
    assert finish(settings, large, ctx).trials > result.trials


def test_of_several_objectives_the_rule_picks_one(settings, make, ctx, tune):
    objectives = [{"metric": "accuracy"}, {"metric": "latency_ms", "direction": "minimize"}]
    pick = {"best": "accuracy", "where": {"latency_ms": {"at_most": 5}}}
    pipeline = make("two", trials=8, objectives=objectives, pick=pick)
    tune(pipeline)
    result = finish(settings, pipeline, ctx)
    assert result.values["latency_ms"] <= 5
    assert len(result.front) == 8  # each faster one is worse
    api = mlflow_runs.client(settings)
    pictures = {path.path.rpartition("/")[2] for path in api.list_artifacts(ctx.mlflow_run, "study")}
    assert {"pareto_front.png", "history_accuracy.png", "history_latency_ms.png"} <= pictures


def test_two_trials_share_a_device_where_the_file_says_so(settings, make, ctx, tune, rows, monkeypatch):
    parsed, found_by = [], main.files_of
    monkeypatch.setattr(main, "files_of", lambda *of: parsed.append(threading.current_thread()) or found_by(*of))
    pipeline = make(trials=6, parameters={"sleep": 0.5}, share=0.5, resources={"devices": 1})
    tune(pipeline)
    assert parsed == [threading.main_thread()]  # once, not by each lane: two threads cannot parse at a time
    found = rows()
    assert states(found) == ["COMPLETE"] * 6
    assert len({row.user_attrs["pid"] for row in found}) == 2
    pairs = combinations(sorted(found, key=lambda row: row.datetime_start), 2)
    assert any(second.datetime_start < first.datetime_complete for first, second in pairs)  # two at a time


def test_exhaustive_samplers_come_to_their_end(settings, make, ctx, tune, rows):
    space = {"x": {"choice": [0.1, 0.2, 0.3]}}
    tune(make(trials=3, sampler="grid", space=space))
    assert sorted(row.params["x"] for row in rows()) == [0.1, 0.2, 0.3]


def test_a_run_that_a_killed_worker_left_twice_is_removed(settings, make, ctx, tune, runs):
    pipeline = make(trials=2)
    tune(pipeline)
    first = runs()
    mlflow_runs.create_child(
        mlflow_runs.client(settings), ctx, "trial", 1
    )  # its creation was repeated after a lost answer
    assert len(runs()) == 3
    finish(settings, pipeline, ctx)
    assert {run.info.run_id for run in runs()} == {run.info.run_id for run in first}


def test_what_a_killed_worker_had_not_brought_to_mlflow_comes_with_the_end(
    settings, make, ctx, tune, runs, monkeypatch
):
    pipeline = make(trials=2)
    with monkeypatch.context() as killed:
        killed.setattr(Recorder, "begin", lambda *_: None)
        tune(pipeline)
    assert runs() == []
    finish(settings, pipeline, ctx)
    found = runs()
    assert [run.info.status for run in found] == ["FINISHED"] * 2
    points = mlflow_runs.client(settings).get_metric_history(found[0].info.run_id, "score")
    assert [point.step for point in points] == [0, 1, 2]


def test_a_short_trial_comes_to_mlflow_whole_and_a_long_one_from_its_beginning(
    settings, make, tune, ctx, other, runs, monkeypatch
):
    batches = []
    send = MlflowClient.log_batch

    def spy(self, run_id, metrics=(), params=(), tags=()):
        batches.append((run_id, {param.key for param in params}, {metric.key for metric in metrics}))
        return send(self, run_id, metrics=metrics, params=params, tags=tags)

    monkeypatch.setattr(MlflowClient, "log_batch", spy)
    tune(make(trials=2))
    assert len(batches) == len({run for run, *_ in batches}) == 2
    assert all(params == {"x"} and metrics >= {"score", "loss", "cost.cpu_seconds"} for _, params, metrics in batches)

    batches.clear()
    monkeypatch.setattr("airloom.tuning.worker.recorder.PAUSE", 0.3)
    second = other("small/manual__2")
    tune(make(trials=1, parameters={"sleep": 0.5}), second)
    first, *more = batches
    assert first[1] == {"x", "sleep"}
    assert not any(params for _, params, _ in more)  # MLflow has them
    assert more[-1][2] >= {"cost.cpu_seconds"}
    assert {run.data.params["sleep"] for run in runs(context=second)} == {"0.5"}
    for run in runs() + runs(context=second):
        assert run.info.start_time < run.info.end_time
