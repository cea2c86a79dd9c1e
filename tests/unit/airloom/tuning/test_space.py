"""What a pipeline file may say of a study: drawn as asked, a mistake named with its key and what is allowed."""

from types import SimpleNamespace

import optuna  # noqa: TID253 - a test of Optuna code
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from airloom.errors import ConfigError, JobFailed
from airloom.spec.tuning import Distribution, TuneSection, ordered
from airloom.tuning import samplers, selection
from airloom.tuning.space import suggest, suggester
from airloom.tuning.study import create
from airloom.tuning.warm_start import fit

SPACE = {
    "momentum": {"float": [0, 0.9], "when": {"optimizer": "sgd"}},
    "optimizer": {"choice": ["sgd", "adam"]},
    "nesterov": {"choice": [True, False], "when": {"momentum_on": True, "optimizer": ["sgd"]}},
    "momentum_on": {"choice": [True, False]},
    "width": {"int": [16, 64], "step": 16},
    "lr": {"float": [1e-4, 1e-1], "log": True},
    "depth": {"value": 3},
}


def dimensions(space):
    return ordered({name: Distribution.model_validate(values) for name, values in space.items()})


def test_every_kind_of_dimension_is_drawn_in_its_bounds_and_conditions_hold():
    study, space = optuna.create_study(), dimensions(SPACE)
    for _ in range(60):
        values = suggest(study.ask(), space, {})
        assert values["width"] in (16, 32, 48, 64)
        assert 1e-4 <= values["lr"] <= 1e-1
        assert values["depth"] == 3
        assert ("momentum" in values) == (values["optimizer"] == "sgd")
        assert ("nesterov" in values) == (values["optimizer"] == "sgd" and values["momentum_on"])


def test_what_is_fixed_is_not_searched_and_decides_conditions():
    values = suggest(optuna.create_study().ask(), dimensions(SPACE), {"optimizer": "adam"})
    assert "optimizer" not in values
    assert "momentum" not in values


@pytest.mark.parametrize(
    ("space", "says"),
    [
        ({}, "search space is empty"),
        ({"a": {"float": [1, 0]}}, "upside down"),
        ({"a": {"int": [1, 2], "float": [0, 1]}}, "exactly one of"),
        ({"a": {"float": [0, 1], "log": True}}, "above 0"),
        ({"a": {"int": [0, 9], "step": 0.5}}, "whole number"),
        ({"a": {"choice": []}}, "at least 1"),
        ({"a": {"int": [0, 1], "when": {"b": 1}}}, "no dimension 'b'"),
        ({"a": {"int": [0, 1], "when": {"b": 5}}, "b": {"choice": [1, 2]}}, "b is never 5"),
        ({"a": {"int": [0, 1], "when": {"b": 1}}, "b": {"int": [0, 1], "when": {"a": 1}}}, "circle"),
    ],
)
def test_a_wrong_space_is_named(space, says):
    with pytest.raises(ValidationError, match=says):
        TuneSection.model_validate({"trials": 2, "objective": {"metric": "m"}, "space": space})


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"sampler": "magic"}, "'tpe'"),
        ({"objectives": [{"metric": "m"}, {"metric": "n"}]}, "either objective"),
        ({"workers": 3}, "3 workers for 2 trials"),
        ({"space_function": "a.py:f"}, "given twice"),
        ({"share": 0}, "greater than 0"),
    ],
)
def test_a_wrong_section_is_named(more, says):
    base = {"trials": 2, "objective": {"metric": "m"}, "space": {"a": {"int": [0, 1]}}}
    with pytest.raises(ValidationError, match=says):
        TuneSection.model_validate({**base, **more})


def test_several_objectives_need_a_rule_that_names_them():
    base = {"trials": 2, "space": {"a": {"int": [0, 1]}}, "objectives": [{"metric": "m"}, {"metric": "n"}]}
    for more, says in [
        ({}, "need pick"),
        ({"pick": {"best": "k"}}, "pick names k"),
        ({"pick": {"best": "m"}, "pruner": "median"}, "pruning needs one objective"),
    ]:
        with pytest.raises(ValidationError, match=says):
            TuneSection.model_validate({**base, **more})


@pytest.mark.parametrize(
    ("tune", "says"),
    [
        ({"sampler": {"name": "tpe", "startup": 3}}, r"tune\.sampler\.startup: TPESampler has no such option"),
        ({"sampler": {"name": "tpe", "n_startup_trials": "x"}}, r"tune\.sampler\.n_startup_trials: 'x' is no int"),
        ({"pruner": {"name": "percentile", "percentile": 200.0}}, "PercentilePruner refuses"),
        ({"sampler": "grid"}, "a grid needs steps, x has none"),
        ({"sampler": "grid", "space": {"x": {"choice": [1, 2]}}}, r"tune\.trials is 4, the grid has 2 points"),
        ({"warm_start": ["other/1"]}, "no study 'other/1'"),
    ],
)
def test_a_wrong_option_is_named_before_the_study_exists(settings, make, ctx, tune, says):
    with pytest.raises(ConfigError, match=says):
        create(settings, make(trials=4, **tune), ctx)


@pytest.mark.parametrize("name", ["tpe", "random", "qmc", "brute_force", "nsgaii", "nsgaiii", "gp"])
def test_every_sampler_is_made(make, name):
    assert type(samplers.sampler(make(sampler=name))).__name__.lower().startswith(name.replace("_", "")[:2])


@pytest.mark.parametrize("name", ["median", "hyperband", "successive_halving", "patient", "wilcoxon", "none"])
def test_every_pruner_is_made(make, name):
    options = {"patient": {"patience": 1}}.get(name, {})
    assert samplers.pruner(make(pruner={"name": name, **options}))


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("raise KeyError('a')", r"tune\.space_function: own\.py:space raised KeyError"),
        ("return None", "returned 'None'"),
        ("return {'a': [1]}", "return a dict"),
    ],
)
def test_a_space_function_that_is_wrong_is_named(settings, make, code, says):
    (settings.project / "own.py").write_text(f"def space(trial):\n    {code}\n")
    draw = suggester(make(space_function="own.py:space"), settings.project, {})
    with pytest.raises(ConfigError, match=says):
        draw(optuna.create_study().ask())


def test_a_new_study_begins_with_the_best_of_earlier_ones(settings, make, other, tune, rows):
    tune(make(trials=4))
    best = max(rows(), key=lambda row: row.value)
    later = other("small/later")
    tune(make(trials=4, warm_start=True), later)
    again = rows(settings, later.key)
    assert again[0].params == best.params
    assert again[1].params != best.params
    narrow = make(warm_start=True, space={"x": {"float": [best.params["x"] + 0.001, 2]}})
    assert fit(best.params, narrow) == {}


def trials(table):
    return [SimpleNamespace(number=n, values=list(values)) for n, values in enumerate(table)]


def section(direction, at_most=None):
    return TuneSection.model_validate(
        {
            "trials": 2,
            "space": {"a": {"int": [0, 1]}},
            "objectives": [{"metric": "accuracy"}, {"metric": "latency", "direction": direction}],
            "pick": {"best": "accuracy", "where": {} if at_most is None else {"latency": {"at_most": at_most}}},
        }
    )


def test_the_rule_picks_the_best_within_its_bounds():
    found = selection.best(section("minimize", 5), trials([(0.9, 9), (0.8, 5), (0.7, 1), (0.8, 6)]))
    assert (found.number, found.value, found.values) == (1, 0.8, {"accuracy": 0.8, "latency": 5})
    assert found.front == [0, 1, 2]
    with pytest.raises(
        JobFailed, match=r"none of 1 trials keeps tune\.pick\.where; the best by accuracy has accuracy 0.9"
    ):
        selection.best(section("minimize", 5), trials([(0.9, 9)]))


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=12))
def test_the_front_is_what_nothing_beats(table):
    found = selection.best(section("minimize"), trials(table)).front
    for number, (accuracy, latency) in enumerate(table):
        beaten = any(a >= accuracy and x <= latency and (a, x) != (accuracy, latency) for a, x in table)
        assert (number in found) == (not beaten)
