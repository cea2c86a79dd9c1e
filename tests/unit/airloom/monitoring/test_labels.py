"""Late labels: kept once and never changed, in both databases; and the rule that says which counts."""

import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from services.postgres import postgres

from airloom.errors import ConfigError, JobsAway
from airloom.monitoring import labels
from airloom.monitoring.label_rule import Label, canonical, contradict, corrected, counting
from airloom.monitoring.labels import Added, NewLabel
from airloom.monitoring.prediction_id import new, short_hash

VERSION = short_hash("digits", "1")


@pytest.fixture(scope="module")
def server():
    with postgres() as address:
        yield address


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'airloom.db'}"
    return request.getfixturevalue("server")


@pytest.fixture
def one():
    return new("digits", "1")


def texts(address, identity):
    return [(label.source, label.text) for label in labels.of_id(address, identity)]


def test_the_same_label_twice_is_one_row(address, one):
    said = [NewLabel(one, "7", "clinic"), NewLabel(one, "7", "clinic"), NewLabel(one, "7", "nurse")]
    assert labels.add(address, said) == Added(2, 1, 0)
    assert labels.add(address, said) == Added(0, 3, 0)
    dated = [NewLabel(one, "7", "clinic", 1000.0)]
    assert [labels.add(address, dated).added for _ in range(2)] == [1, 0]


def test_contradicting_labels_are_all_kept(address, one):
    for text, source in (("7", "clinic"), ("1", "nurse"), ("1", "clinic"), ("7", "clinic")):
        labels.add(address, [NewLabel(one, text, source)])
        time.sleep(0.002)  # the next is newer
    assert sorted(texts(address, one)) == [("clinic", "1"), ("clinic", "7"), ("clinic", "7"), ("nurse", "1")]
    every = labels.of_id(address, one.upper())
    assert contradict(every)
    assert corrected(every)
    assert counting(every, {}).text == "7"
    assert labels.add(address, [NewLabel(one, "8", "third")]) == Added(1, 0, 1)


def test_labels_are_found_by_version_and_time(address):
    mine, other = new("digits", "1"), new("digits", "2")
    labels.add(address, [NewLabel(mine, "7", "clinic"), NewLabel(other, "7", "clinic")])
    assert mine in [label.subject for label in labels.of_versions(address, [VERSION])]
    assert other not in [label.subject for label in labels.of_versions(address, [VERSION])]
    assert labels.of_versions(address, [VERSION], 0, 10) == []
    labels.add(address, [NewLabel("order-1", "7", "shop")], by="input:order", model="digits")
    assert [label.by for label in labels.of_model(address, "digits")] == ["input:order"]


def test_writers_at_once_add_each_label_once(address):
    ids = [new("digits", "9") for _ in range(60)]
    said = [NewLabel(identity, "7", "clinic", 1000.0) for identity in ids]
    counts, barrier = [], threading.Barrier(4)

    def write():
        barrier.wait()
        counts.append(labels.add(address, said))

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(count.added for count in counts) == 60
    assert len(labels.of_versions(address, [short_hash("digits", "9")])) == 60


def test_sources_have_an_order(address, one):
    labels.trust(address, ["pathologist", "clinic"])
    assert labels.trusted(address) == {"pathologist": 0, "clinic": 1}
    labels.trust(address, ["clinic"])
    assert labels.trusted(address) == {"clinic": 0}
    with pytest.raises(ConfigError, match="stands there twice"):
        labels.trust(address, ["clinic", "clinic"])
    labels.trust(address, [])
    assert labels.trusted(address) == {}


def test_a_database_that_is_away_is_waited_for_and_then_said(one):
    with pytest.raises(JobsAway, match="does not answer"):
        labels.add("postgresql+psycopg2://nobody@127.0.0.1:1/x", [NewLabel(one, "7", "clinic")], patience=0)


@pytest.mark.parametrize(
    ("value", "text"),
    [(7, "7"), (7.0, "7"), (np.int64(7), "7"), (np.float32(0.5), "0.5"), (True, "true"), ("cat", "cat"), (-0.0, "0")],
)
def test_equal_labels_have_one_text(value, text):
    assert canonical(value) == text


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "", "a\0b", "\ud800", [1], {"a": 1}, None, b"7"])
def test_what_is_no_label_is_refused(value):
    with pytest.raises(ValueError, match=r"is |has "):
        canonical(value)


@pytest.mark.parametrize("subject", ["", "7", "x" * 36, "01a20b76-0146-4c3e-9d2f-5b1c8e4fa001", "k" * 300])
def test_what_is_no_id_is_refused(subject):
    with pytest.raises(ValueError, match=r"no id|version 4"):
        labels.check_subject(subject, "id")


SAID = st.lists(
    st.builds(
        Label,
        st.just("x"),
        st.sampled_from("ab"),
        st.sampled_from(["one", "two", "three"]),
        st.integers(0, 4).map(float),
        st.integers(0, 4).map(float),
    ),
    min_size=1,
    max_size=8,
)


@given(SAID, st.permutations(["one", "two", "three"]), st.sampled_from(["newest", "oldest"]), st.randoms())
def test_which_label_counts_does_not_depend_on_their_order(said, sources, rule, random):
    trust = {sources[0]: 0, sources[1]: 1}
    chosen = counting(said, trust, rule)
    mixed = [*said, *said]
    random.shuffle(mixed)
    assert counting(mixed, trust, rule) == chosen
    ranks = {label.source: trust.get(label.source, 2) for label in said}
    assert ranks[chosen.source] == min(ranks.values())
    times = [label.found for label in said if ranks[label.source] == ranks[chosen.source]]
    assert chosen.found == (max(times) if rule == "newest" else min(times))


@given(SAID)
def test_agreed_counts_only_where_nobody_differs(said):
    assert (counting(said, {}, "agreed") is None) == contradict(said)
