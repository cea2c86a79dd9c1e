"""`-p name=value` is read as a pipeline file is, and holds plain values only."""

import pytest

from airloom.cli.console import parse_parameters
from airloom.errors import ConfigError


def test_values_are_what_a_pipeline_file_would_have():
    given = ["lr=1e-3", "epochs=3", "deep=true", "name=adam", "text='1e-3'", "path=a=b"]
    wanted = {"lr": 0.001, "epochs": 3, "deep": True, "name": "adam", "text": "1e-3", "path": "a=b"}
    assert parse_parameters(given) == wanted


@pytest.mark.parametrize("pair", ["a={b", "a=", "a=[1]", "a=2020-01-01", "a=.nan", "a=-.inf", "a=1e999", "a: b=c: d"])
def test_what_is_no_plain_value_is_refused(pair):
    with pytest.raises(ConfigError, match="is no plain value"):
        parse_parameters([pair])


def test_a_pair_needs_its_name():
    with pytest.raises(ConfigError, match="name=value"):
        parse_parameters(["=3"])
