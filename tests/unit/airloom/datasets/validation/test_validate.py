"""Great Expectations decides by severity; its report is readable by itself and harmless whatever the data are."""

import json
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest

from airloom.datasets.ingest.images import image_table
from airloom.datasets.types import get_type
from airloom.datasets.types.image import LAYOUT
from airloom.datasets.validation.validate import validate
from airloom.errors import ConfigError

IN_SET = {"type": "expect_column_values_to_be_in_set", "kwargs": {"column": "label", "value_set": ["cat", "dog"]}}
FEW = {"type": "expect_column_values_to_be_between", "kwargs": {"column": "n", "max_value": 9}, "severity": "warning"}


def table(columns):
    import pandas as pd

    return pd.DataFrame(columns)


@pytest.fixture
def check(settings, tmp_path):
    def run(frame, *expectations, name="pets"):
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps({"name": name, "expectations": list(expectations)}))
        return validate(settings, name, table(frame), path)

    return run


def test_a_failure_names_values_and_rows(check):
    report = check({"label": ["cat", "wolf", "dog", "fox"], "n": [1, 2, 3, 99]}, IN_SET, FEW)
    assert not report.passed
    expected = "label: expect_column_values_to_be_in_set {'value_set': ['cat', 'dog']}, found 'wolf', 'fox' in row 1, 3"
    assert report.failed == [expected]
    assert report.warned == ["n: expect_column_values_to_be_between {'max_value': 9.0}, found 99 in row 3"]


def test_warnings_and_infos_are_reported_and_do_not_fail(check):
    report = check(
        {"label": ["cat"], "n": [99]},
        IN_SET,
        FEW,
        FEW | {"severity": "info", "kwargs": {"column": "n", "max_value": 8}},
    )
    assert (report.passed, report.failed, len(report.warned)) == (True, [], 2)
    result = json.loads(Path(report.json).read_text())
    assert [entry["success"] for entry in result["results"]].count(False) == 2


def test_many_values_are_counted_not_listed(check):
    report = check({"label": [f"x{n}" for n in range(30)]}, IN_SET)
    assert "found 'x0', 'x1', 'x2', 'x3', 'x4' in row 0, 1, 2, 3, 4 and 25 more" in report.failed[0]


def test_whole_table_and_missing_values_are_told(check):
    count = {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 5}}
    both = {"type": "expect_column_distinct_values_to_contain_set", "kwargs": {"column": "label", "value_set": ["dog"]}}
    failed = "\n".join(check({"label": ["cat"]}, count, both).failed)
    assert "table: expect_table_row_count_to_be_between {'min_value': 5}, found 1" in failed
    assert "{'value_set': ['dog']}, missing 'dog'" in failed


def test_what_cannot_be_evaluated_fails_and_says_why(check):
    report = check({"n": [1]}, IN_SET)
    assert 'not evaluated: Error: The column "label" in BatchData does not exist' in report.failed[0]
    assert "Traceback" not in Path(report.json).read_text() + Path(report.page).read_text()


def test_hostile_values_stay_text(check):
    hostile = [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "\x1b[31m",
        '"><b>',
        "$x ${y} {{z}} {% z %}",
    ]
    report = check({"label": hostile, "n": [1] * 5}, IN_SET)
    page = Path(report.page).read_text()
    assert "default-src 'none'" in page
    assert not re.search(r"<(script|img|link|iframe|b)\b", page)
    assert "alert(1)" in page
    assert "\x1b" not in report.failed[0]
    assert json.loads(Path(report.json).read_text())["results"][0]["result"]["partial_unexpected_list"][0] == hostile[0]


def test_the_page_can_be_read_without_a_network(check):
    page = Path(check({"label": ["cat", "wolf"], "n": [0.5, np.float64(99.5)]}, IN_SET, FEW).page).read_text()
    places = re.findall(r"""(?:src|href|action|data)\s*=\s*["']?([^"'\s>]+)|url\(([^)]*)\)|@import\s+(\S+)""", page)
    assert {place[0][:1] for place in places} == {"#"}  # within the page
    assert "<script" not in page
    assert "wolf" in page
    assert "99.5" in page
    assert ".fa-times::before" in page  # our stand-in for the icons


@pytest.mark.skipif(not shutil.which("chromium"), reason="chromium is missing: apt-get install chromium")
def test_a_browser_asks_nobody_for_anything(check, tmp_path):
    report = check({"label": ["cat", "wolf"], "n": [1, 99]}, IN_SET, FEW)
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    flags += [f"--user-data-dir={tmp_path / 'profile'}", f"--log-net-log={tmp_path / 'net'}"]
    command = ["chromium", *flags, "--dump-dom", f"file://{report.page}"]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert "<h1>pets, batch of 2 rows" in shown
    asked = re.findall(r'"initiator":"([^"]*)".*?"url":"([^"]*)', (tmp_path / "net").read_text())
    assert [url for who, url in asked if who != "not an origin" and not url.startswith("file:")] == []


def test_title_and_heading_say_what_failed_in_how_many_rows(check, settings):
    bad = Path(check({"label": ["cat", "wolf", "fox"], "n": [1, 2, 99]}, IN_SET, FEW).page).read_text()
    title = re.search("<title>(.*)</title>", bad)[1]
    assert title.startswith("pets, batch of 3 rows: FAILED: label: expect_column_values_to_be_in_set")
    assert "2 of 3 rows" in title
    above = bad[bad.index("<h1>") : bad.index('class="page"')]
    assert re.search(
        r"(?s)Failed.*label.*2 of 3 rows.*found 'wolf'.*Warnings.*n.*1 of 3 rows.*found 99", unescape(above)
    )
    good = Path(check({"label": ["cat"], "n": [99]}, IN_SET, FEW).page).read_text()
    assert "<title>pets, batch of 1 row: passed, 1 warning</title>" in good


def test_values_of_a_batch_open_no_tag_in_title_and_heading(check):
    page = Path(check({"label": ["</title><b>", "</h1>{{ 7 * 7 }}"], "n": [1, 1]}, IN_SET).page).read_text()
    assert page.count("</title>") == page.count("</h1>") == 1
    assert "<b>" not in page
    assert "{{ 7 * 7 }}" in page


def test_great_expectations_own_client_reads_the_result(check):
    from great_expectations.core.expectation_validation_result import ExpectationSuiteValidationResultSchema

    report = check({"label": ["cat", "wolf"], "n": [1, 2]}, IN_SET, FEW)
    result = ExpectationSuiteValidationResultSchema().load(json.loads(Path(report.json).read_text()))
    assert (result.success, result.statistics["evaluated_expectations"]) == (False, 2)
    assert result.meta["airloom"]["dataset"] == "pets"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no expectation suite"),
        ("[]", "no expectation suite"),
        ('{"name": "x", "expectations": 7}', "no expectation suite"),
        ('{"name": "x", "expectations": []}', "no expectation of severity critical"),
        (json.dumps({"name": "x", "expectations": [FEW]}), "no expectation of severity critical"),
        (
            json.dumps({"name": "x", "expectations": [IN_SET | {"type": "expect_wonders"}]}),
            "no expectation suite: .*expect_wonders",
        ),
        (json.dumps({"name": "x", "expectations": [IN_SET | {"severity": "fatal"}]}), "Invalid severity 'fatal'"),
        (json.dumps({"name": "x", "expectations": [IN_SET, IN_SET | {"type": "expect_colum"}]}), "expect_colum"),
        (json.dumps({"name": "x", "expectations": [IN_SET | {"kwargs": {"colum": "x"}}]}), "no expectation suite"),
        ("[" * 100_000, "no expectation suite"),
    ],
)
def test_a_suite_that_could_not_fail_a_batch_is_refused(settings, tmp_path, text, says):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ConfigError, match=rf"x\.json.*({says})") as caught:
        validate(settings, "x", table({"n": [1]}), tmp_path / "x.json")
    assert caught.value.hint
    assert not (settings.home / "reports").exists()


def test_without_a_suite_the_error_says_how_to_make_one(settings):
    with pytest.raises(ConfigError, match=r"(?s)expectations/pets\.json.*airloom dataset propose-expectations pets"):
        validate(settings, "pets", table({"n": [1]}))


def test_the_suite_of_the_project_is_taken_and_reports_are_private(settings):
    images = np.full((3, 1, 8, 8), 0.3, np.float32)
    good = get_type("image").profile(image_table(images, np.array([0, 1, 9])), LAYOUT)
    report = validate(settings, "digits", good)
    assert report.passed
    assert Path(report.page).parent == settings.home / "reports" / "digits"
    assert Path(report.page).stat().st_mode & 0o077 == 0
    images[1, 0, 0, 0] = np.nan
    bad = get_type("image").profile(image_table(images, np.array([0, 1, 9])), LAYOUT)
    assert "row 1" in "".join(validate(settings, "digits", bad).failed)


def test_threads_that_validate_at_once_get_their_own_answers(check):
    def run(number):
        bad = number % 2 == 0
        return check({"label": ["wolf" if bad else "cat"] * (number + 1)}, IN_SET, name=f"pets{number}"), bad

    with ThreadPoolExecutor(4) as pool:
        for report, bad in pool.map(run, range(8)):
            assert report.passed is not bad


def test_what_few_expectations_need_is_imported_for_these_and_for_whoever_else_asks():
    """In a process of its own, as here everything has been imported by now."""
    code = """
        import sys, tempfile
        from pathlib import Path
        import numpy as np, pandas as pd
        from airloom.datasets.validation.validate import validate
        from airloom.settings import Settings

        here = Path(tempfile.mkdtemp())
        settings, frame = Settings(home=here), pd.DataFrame({"n": np.random.default_rng(0).normal(0, 1, 500)})
        def check(kind, **more):
            file = here / "suite.json"
            entry = {"type": f"expect_column_{kind}", "kwargs": {"column": "n", **more}}
            file.write_text(__import__("json").dumps({"name": "pets", "expectations": [entry]}))
            return validate(settings, "pets", frame, file).passed

        assert check("values_to_be_between", max_value=9) and "scipy.stats" not in sys.modules
        bins = [-1000.0, 0.0, 1000.0]
        for tails, alike in (([0.5, 0.5], True), ([0.99, 0.01], False)):
            found = {"bins": bins, "weights": tails}
            assert check("kl_divergence_to_be_less_than", partition_object=found, threshold=0.1) is alike
        assert "scipy.stats" in sys.modules
        from scipy import stats
        import scipy.stats
        assert stats is scipy.stats is sys.modules["scipy.stats"] and stats.norm.cdf(0) == 0.5
    """
    done = subprocess.run([sys.executable, "-c", dedent(code)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_great_expectations_is_imported_only_where_it_validates():
    code = "import sys\nfrom airloom.datasets.validation import propose, quarantine, validate\n"
    code += "sys.exit(any(name in sys.modules for name in ('great_expectations', 'pandas', 'torch', 'PIL')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
