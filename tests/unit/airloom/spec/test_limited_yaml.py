"""YAML that would fill the memory or end the parser is refused, at each door; all other is read as ever."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from airloom.cli.console import parse_parameters
from airloom.errors import ConfigError
from airloom.spec import limited_yaml
from airloom.spec.load import load_pipeline

NINES = "\n".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True))
BOMBS = {
    "aliases": f"a: &a [1, 2]\n{NINES}",
    "merges": "a: &a {x: 1}\n"
    + "\n".join(f"{b}: &{b} {{<<: [{', '.join([f'*{a}'] * 9)}]}}" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
    "depth": "a: " + "[" * 5000 + "]" * 5000,
    "depth_of_blocks": "\n".join(f"{' ' * n}a:" for n in range(300)),
    "a list that holds itself": "a: &a [*a]",
    "size": "a: " + "x" * 300_000,
    "many": "a: [" + "1," * 60_000 + "]",
}
bombs = pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS)


@bombs
def test_a_pipeline_file_is_refused_by_name(tmp_path, text):
    (tmp_path / "boats.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"boats\.yaml: not readable as YAML: ") as caught:
        load_pipeline(tmp_path / "boats.yaml")
    assert len(caught.value.message) < 500


@bombs
def test_a_parameter_is_refused_by_name(text):
    with pytest.raises(ConfigError, match="--parameter p: "):
        parse_parameters([f"p={text}"])


@pytest.mark.parametrize("text", ["[", "a: b: c", "\x00", "!!python/object:os.system {}"])
def test_a_parameter_that_is_no_yaml_is_refused(text):
    with pytest.raises(ConfigError, match="is no plain value"):
        parse_parameters([f"p={text}"])


def test_aliases_and_merges_of_ordinary_files_are_read():
    text = "base: &base {lr: 0.1, layers: [1, 2]}\none: {<<: *base, lr: 0.2}\ntwo: *base\nempty:\n"
    assert limited_yaml.load(text) == yaml.safe_load(text)
    assert limited_yaml.load("") is None


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8) | st.dates(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


@given(plain)
def test_whatever_is_written_is_read_as_yaml_itself_reads_it(value):
    text = yaml.safe_dump(value)
    assert limited_yaml.load(text) == yaml.safe_load(text)
