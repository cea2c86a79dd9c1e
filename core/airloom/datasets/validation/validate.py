"""Great Expectations looks at a batch's profile before a version of it exists."""

import json
import logging
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airloom.datasets.validation.expectations import great_expectations
from airloom.datasets.versions import check_name
from airloom.errors import ConfigError
from airloom.files import write_private, writing
from airloom.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

    from airloom.datasets.validation.page import Finding

_log = logging.getLogger(__name__)
SHOWN = 5  # values, and rows, that a line about an expectation names


@dataclass(frozen=True)
class Report:
    """What validation found. Expectations of severity `critical` decide; `warning` and `info` only report.

    `page` and `json` are paths; `failed` and `warned` have one line an expectation that was not met; `subject` is what
    the page says was validated.
    """

    passed: bool
    page: str
    json: str
    failed: list[str] = field(default_factory=list)
    warned: list[str] = field(default_factory=list)
    subject: str = ""

    def name_subject(self, name: str) -> None:
        """Say in the page what became of the batch; where the page cannot be written, the decision stands as it is."""
        from airloom.datasets.validation.page import rename

        try:
            rename(Path(self.page), self.subject, name)
        except OSError as error:
            _log.warning("%s does not name %s: %s", self.page, name, error)


def suite_path(settings: Settings, dataset: str) -> Path:
    """Where the suite of a dataset lies: configs/expectations/<dataset>.json of the project."""
    return settings.project / "configs" / "expectations" / f"{dataset}.json"


def validate(
    settings: Settings,
    dataset: str,
    profile: "pd.DataFrame",
    suite: Path | None = None,
    note: str = "",
    after: str = "",
) -> Report:
    """Check a profile against the dataset's suite, and write the result as JSON and as a Data Docs page.

    Args:
        settings: of this installation.
        dataset: name of the dataset.
        profile: one row a row of the batch, as its type measured it.
        suite: another suite than the dataset's own.
        note: what else is to be known of the batch; it stands in the report.
        after: the newest version's name, where there is one.

    Raises:
        ConfigError: there is no suite, it is none, nothing in it could fail a batch, or the name is no name.
    """
    from airloom.datasets.validation.page import render

    path = suite or suite_path(settings, check_name(dataset))
    result = _run(_load(path, dataset), profile.reset_index(drop=True), path)
    rows = len(profile)
    subject = f"{dataset}, batch of {rows:,} row{'s' * (rows != 1)}{f' after {after}' if after else ''}"
    unmet = [(entry, _finding(entry)) for entry in result["results"] if not entry["success"]]
    failed = [finding for entry, finding in unmet if _severity(entry) == "critical"]
    warned = [finding for entry, finding in unmet if _severity(entry) != "critical"]
    # Below `meta`: Great Expectations' own client refuses a key that it does not know.
    result["meta"]["airloom"] = {"dataset": dataset, "subject": subject, "note": note}
    page = render(result, subject, failed, warned, note)
    base = settings.home / "reports" / dataset / f"validation-{uuid.uuid4().hex[:12]}"
    with writing(base.parent):
        write_private(base.with_suffix(".json"), json.dumps(result, indent=1))
        write_private(base.with_suffix(".html"), page)
    page_path, json_path = str(base.with_suffix(".html")), str(base.with_suffix(".json"))
    return Report(not failed, page_path, json_path, _lines(failed), _lines(warned), subject)


def _load(path: Path, dataset: str) -> Any:
    """The suite, as Great Expectations' own class.

    A batch that nothing could fail would be taken unvalidated: a suite needs a critical expectation, and each of its
    expectations must be one. Great Expectations itself only logs those that it cannot read, and runs the others.
    """
    gx = great_expectations()
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    try:
        text = json.loads(path.read_text())
        expectations = [ExpectationConfiguration(**entry).to_domain_obj() for entry in text["expectations"]]
        suite = gx.ExpectationSuite(**text | {"expectations": expectations})
    except FileNotFoundError:
        hint = f"`airloom dataset propose-expectations {dataset} FILE --write` drafts one"
        raise ConfigError(f"there is no expectation suite {path}", hint) from None
    except Exception as error:  # of a dozen kinds: JSON, pydantic, marshmallow, Great Expectations' own
        message = f"{path} is no expectation suite: {' '.join(str(error).split())[:300]}"
        raise ConfigError(message, "mend the file; it is Great Expectations' own JSON") from None
    if not any(expectation.severity == "critical" for expectation in suite.expectations):
        raise ConfigError(f"{path} has no expectation of severity critical", "add one; else nothing could fail a batch")
    return suite


def _run(suite: Any, profile: "pd.DataFrame", path: Path) -> dict[str, Any]:
    gx = great_expectations()
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    source = context.data_sources.add_pandas("batch").add_dataframe_asset("profile")
    batch = source.add_batch_definition_whole_dataframe("whole").get_batch(batch_parameters={"dataframe": profile})
    try:
        result = batch.validate(context.suites.add(suite), result_format="SUMMARY").to_json_dict()
    except Exception as error:  # its own, pydantic's and pandas' alike
        message = f"the suite {path} cannot be run: {' '.join(str(error).split())[:300]}"
        raise ConfigError(message, "mend the suite") from None
    return dict(_without_traces(json.loads(json.dumps(result))))


def _without_traces(value: Any) -> Any:
    """The same without the tracebacks of expectations that could not be evaluated; their messages stay."""
    if isinstance(value, dict):
        return {key: "" if key == "exception_traceback" else _without_traces(part) for key, part in value.items()}
    return [_without_traces(part) for part in value] if isinstance(value, list) else value


def _severity(entry: dict[str, Any]) -> str:
    return str(entry["expectation_config"].get("severity", "critical"))


def _finding(entry: dict[str, Any]) -> "Finding":
    from airloom.datasets.validation.page import Finding

    config, result = entry["expectation_config"], entry.get("result") or {}
    limits = {key: value for key, value in config["kwargs"].items() if key not in {"batch_id", "column"}}
    wrong, of = result.get("unexpected_count"), result.get("element_count")
    rows = "" if wrong is None or of is None else f"{wrong:,} of {of:,} rows"
    name = f"{config['type']} {ascii(limits)[:200]}"
    return Finding(config["kwargs"].get("column", "table"), name, rows, _found(entry))


def _lines(findings: "list[Finding]") -> list[str]:
    """`label: expect_column_values_to_be_in_set {'value_set': [0, 1]}, found 17 in row 2`; rows count from 0."""
    return [f"{one.column}: {one.expectation}, {one.found}" for one in findings]


def _found(entry: dict[str, Any]) -> str:
    problem = _exception(entry.get("exception_info") or {})
    if problem:
        return f"not evaluated: {problem[:200]}"
    result = entry.get("result") or {}
    if result.get("partial_missing_list"):
        return f"missing {_some(result['partial_missing_list'])}"
    if not result.get("partial_unexpected_list"):
        return f"found {ascii(result.get('observed_value'))[:80]}"
    rows = result.get("partial_unexpected_index_list")
    more = max(0, result.get("unexpected_count", 0) - SHOWN)
    where = f" in row {_some(rows)}" if rows else ""
    return f"found {_some(result['partial_unexpected_list'])}{where}{f' and {more} more' if more else ''}"


def _some(values: list[Any]) -> str:
    return ", ".join(ascii(value)[:80] for value in values[:SHOWN])


def _exception(info: dict[str, Any]) -> str:
    """Great Expectations puts the message at the top, or below the id of a metric."""
    messages = [part.get("exception_message") for part in (info, *info.values()) if isinstance(part, dict)]
    return next((str(message) for message in messages if message), "")
