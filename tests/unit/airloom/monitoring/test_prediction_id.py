import time
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airloom.monitoring import prediction_id as ids


@given(st.text(max_size=20), st.integers(1, 10**6))
def test_an_id_is_a_uuid7_that_only_its_own_version_matches(model, version):
    made = ids.new(model, str(version))
    assert (uuid.UUID(made).version, uuid.UUID(made).variant) == (7, uuid.RFC_4122)
    assert ids.matches(made, model, str(version))
    assert not ids.matches(made, model, str(version + 1))
    assert not ids.matches(made, f"{model}x", str(version))


def test_ids_of_later_milliseconds_sort_later_and_no_two_are_equal():
    made, began = [], time.time() * 1000
    for _ in range(5):
        made.append(ids.new("small", "1"))
        time.sleep(0.002)
    assert made == sorted(made)
    assert int(began) <= uuid.UUID(made[-1]).int >> 80 <= time.time() * 1000
    assert len({ids.new("small", "1") for _ in range(10_000)}) == 10_000


@pytest.mark.parametrize("foreign", ["1466f0f4-fde8-4d9a-9ecf-f45cacec6154", "", "no id", "0" * 32])
def test_another_kind_of_id_is_a_value_error(foreign):
    with pytest.raises(ValueError):
        ids.matches(foreign, "small", "1")


@given(st.sets(st.integers(0, ids.NUMBERS - 1), min_size=1, max_size=50), st.integers(0, 2**48 - 1))
def test_a_numbered_id_tells_its_number_and_later_ones_sort_later(numbers, milliseconds):
    ordered = sorted(numbers)
    made = ids.numbered("small", "1", milliseconds, ordered)
    assert [ids.number_in(one) for one in made] == ordered
    assert made == sorted(set(made))
    for one in made:
        assert (uuid.UUID(one).version, uuid.UUID(one).variant) == (7, uuid.RFC_4122)
        assert ids.milliseconds(one) == milliseconds
        assert ids.matches(one, "small", "1")


@given(st.integers(0, ids.NUMBERS - 1), st.integers(0, 2**48 - 1), st.text(max_size=20))
def test_ids_made_at_once_are_what_the_rfc_says_digit_by_digit(number, milliseconds, model):
    (made,) = ids.numbered(model, "3", milliseconds, [number])
    value = milliseconds << 80 | 7 << 76 | (number >> 30) << 64 | 0b10 << 62 | (number & (1 << 30) - 1) << 32
    assert made == str(uuid.UUID(int=value | ids.short_hash(model, "3")))
    assert ids.numbered(model, "3", milliseconds, []) == []
