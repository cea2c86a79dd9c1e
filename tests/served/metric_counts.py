"""Counts of model metrics, for hypothesis."""

from hypothesis import strategies as st

from airloom.monitoring.metric_counts import ERRORS, Cell, Place

NUMBER = st.integers(1, 2**40)
BINS = st.dictionaries(st.integers(-32_000, 32_767), NUMBER, max_size=4)
CELL = st.builds(
    Cell,
    requests=NUMBER,
    predictions=NUMBER,
    errors=st.dictionaries(st.sampled_from(ERRORS), NUMBER, max_size=2),
    latency=BINS,
    scores=BINS,
    numbers=BINS,
    answers=st.dictionaries(st.sampled_from(["cat", "Hündin", "7", ""]), NUMBER, max_size=3),
)
PLACE = st.builds(
    Place,
    model=st.sampled_from(["digits", "boats"]),
    version=st.sampled_from(["1", "2"]),
    role=st.sampled_from(["champion", "shadow"]),
    start=st.integers(0, 3000).map(lambda minute: minute * 60),
)
COUNTS = st.dictionaries(PLACE, CELL, max_size=4)
