"""The cache under the running scheduler; after the loop's, as it promotes one version more."""

import pytest

pytestmark = [pytest.mark.system, pytest.mark.timeout(900, func_only=True)]


def test_a_second_run_on_the_same_version_says_hit_and_a_clear_trains_anew(airloom, pytestconfig) -> None:
    """That a clear trains anew is for --full; dags/test_cache.py and cache/test_table.py have a cleared task too."""
    full = pytestconfig.getoption("full")
    said = airloom.outsider("lineage_cache.py", "airflow" if full else "again").stdout
    for text in (
        "tune[0] success: HIT: tune reuses digits/",
        "train success: HIT: train reuses digits/",
        "the link leads to the run that trained: True",
        *(["cleared: trained anew: True"] if full else []),
    ):
        assert text in said, said[-3000:]
