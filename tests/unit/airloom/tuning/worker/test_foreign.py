"""A study beside whose workers a person uses plain Optuna, in a process of their own: enqueues, asks, tells, adds."""

import csv
import io
import subprocess
import sys
import threading

import pytest

from airloom.cache import lookup
from airloom.pipeline.steps import tune as step
from airloom.tuning import queries
from airloom.tuning.study import create
from airloom.tuning.summary import finish
from airloom.tuning.trials import OptunaTrials

CLIENT = """
import sys, optuna
optuna.logging.set_verbosity(optuna.logging.ERROR)
study = optuna.load_study(study_name=sys.argv[2], storage=sys.argv[1])
space = {"x": optuna.distributions.FloatDistribution(0, 1)}
for action in sys.argv[3:]:
    if action == "enqueue":
        study.enqueue_trial({"x": 0.125})
    elif action == "add":
        study.add_trial(optuna.trial.create_trial(params={"x": 0.5}, distributions=space, value=99.0))
    elif action == "ask":
        study.ask(space)  # and never tells
    elif action == "tell":
        study.tell(study.ask(space), 77.0)
    elif action == "front":
        study.add_trial(optuna.trial.create_trial(values=[9.0, 0.0]))
"""


@pytest.fixture
def client(settings, ctx):
    """Plain Optuna in another process."""

    def use(*actions, key=ctx.key):
        subprocess.run([sys.executable, "-c", CLIENT, settings.study_address, key, *actions], check=True, timeout=120)

    return use


def test_trials_of_others_are_counted_nowhere_and_shown_apart(settings, make, ctx, tune, rows, runs, client):
    pipeline = make(trials=3, sampler="tpe", parameters={"sleep": 0.5})
    create(settings, pipeline, ctx)
    client("add", "ask", "tell")
    beside = threading.Thread(target=client, args=("tell", "ask"))
    beside.start()
    assert tune(pipeline) == {"worker": 0, "trials": 3, "failed": 0, "over": ""}
    beside.join()
    result = finish(settings, pipeline, ctx)
    assert result.trials == 3
    own = [slot.trial for slot in queries.show_study(settings, ctx.key).slots]
    assert result.best_value < 2 and result.best_trial in own
    assert len(runs()) == 3
    shown = queries.show_study(settings, ctx.key)
    assert (shown.tally.trials, shown.tally.finished) == (3, 3)
    states = {row.trial: row.state for row in shown.foreign}
    assert sorted([*states, *own]) == list(range(8))
    assert sorted(states.values()) == ["COMPLETE", "COMPLETE", "COMPLETE", "RUNNING", "RUNNING"]
    assert shown.foreign[0].values == {"score": 99.0}
    assert [trial.trial for trial in queries.best_trials(settings, ctx.key)] == [result.best_trial]
    assert {trial.trial for trial in queries.best_trials(settings, ctx.key, 9)} == set(own)
    exported = list(csv.DictReader(io.StringIO(queries.to_csv(settings, ctx.key))))
    assert {int(row["trial"]) for row in exported if row["foreign"] == "yes"} == set(states)
    assert rows()[1].state.name == "RUNNING"  # it is another client's, and no orphan of ours


def manifest():
    from airloom.cache.manifest import StepManifest

    return StepManifest({}, {}, {}, {}, {}, {}, {})


def test_a_study_to_which_others_added_is_not_kept_for_later_runs(settings, make, ctx, tune, client, monkeypatch):
    from airloom.tracking import runs as mlflow_runs

    kept = []
    create(settings, make(trials=1), ctx)
    mlflow_runs.client(settings).set_tag(ctx.mlflow_run, step._asked(ctx), manifest().key)
    monkeypatch.setattr(step, "reads", lambda *_: manifest())
    monkeypatch.setattr(lookup, "keep", lambda *_, unless="", **__: kept.append(unless))
    tune(make(trials=1))
    result = finish(settings, make(trials=1), ctx)
    step._keep(settings, ctx, result, {})
    client("add")
    step._keep(settings, ctx, result, {})
    assert kept == ["", "others added trials to it by Optuna"]


def test_an_enqueued_trial_is_taken_as_one_of_the_study(settings, make, ctx, tune, rows, runs, client):
    pipeline = make(trials=2)
    create(settings, pipeline, ctx)
    client("enqueue")
    assert [row.state for row in queries.show_study(settings, ctx.key).foreign] == ["WAITING"]
    assert queries.show_study(settings, ctx.key).foreign[0].parameters == {"x": 0.125}
    tune(pipeline)
    result = finish(settings, pipeline, ctx)
    assert [row.state.name for row in rows()] == ["COMPLETE", "COMPLETE"]
    assert rows()[0].params == {"x": 0.125}
    assert (result.trials, len(runs())) == (2, 2)
    assert queries.show_study(settings, ctx.key).foreign == []
    client("enqueue")  # too late: it waits for a study that grows
    assert finish(settings, pipeline, ctx) == result
    tune(make(trials=3))
    assert finish(settings, make(trials=3), ctx).trials == 3
    assert [row.params["x"] for row in rows()].count(0.125) == 2


def test_workers_and_another_client_do_not_take_one_enqueued_trial_twice(settings, make, ctx, rows, client):
    pipeline = make(trials=4)
    create(settings, pipeline, ctx)
    client("enqueue")
    first, second = (OptunaTrials(settings, pipeline, ctx) for _ in range(2))
    slots = [_slot(ctx, number) for number in (0, 1)]
    client("ask")  # Optuna's own client takes what waits
    assert first.begin(slots[0], {}).trial.number == 1
    client("enqueue")
    taken, drawn = first.begin(slots[0], {}), second.begin(slots[1], {})
    assert (taken.trial.number, taken.values["x"]) == (2, 0.125)
    assert drawn.trial.number == 3 and drawn.values["x"] != 0.125
    assert [row.user_attrs.get("slot") for row in rows()] == [None, 0, 0, 1]
    assert first.close_orphans({}) == 3  # not the other client's
    assert [row.state.name for row in rows()] == ["RUNNING", "FAIL", "FAIL", "FAIL"]


def _slot(ctx, number):
    from airloom.tuning.slots import Slot

    return Slot(ctx.key, number, "TAKEN", 1, "me", 0, -1, None, 0, 0, 0, 0, -1, None, 0.0, 0.0, 0.0, 0, "", 0)


def test_the_front_of_several_objectives_is_that_of_the_slots(settings, make, ctx, tune, client):
    objectives = [{"metric": "accuracy"}, {"metric": "latency_ms", "direction": "minimize"}]
    pipeline = make("two", trials=3, objectives=objectives, pick={"best": "accuracy"})
    create(settings, pipeline, ctx)
    client("front")
    tune(pipeline)
    result = finish(settings, pipeline, ctx)
    assert set(result.front) <= {1, 2, 3} and result.best_trial in (1, 2, 3)
    assert {trial.trial for trial in queries.best_trials(settings, ctx.key)} == set(result.front)


def test_warm_start_begins_with_trials_of_the_slots_alone(settings, make, ctx, other, tune, rows, client):
    tune(make(trials=1))
    client("add")
    finish(settings, make(trials=1), ctx)
    later = other("small/manual__2")
    tune(make(trials=1, warm_start=True), later)
    begun = rows(key=later.key)[0].system_attrs["fixed_params"]
    assert begun == rows()[0].params != {"x": 0.5}
