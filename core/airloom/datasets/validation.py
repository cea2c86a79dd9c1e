"""Great Expectations looks at a batch before a version of it exists."""

import json
import uuid
from pathlib import Path
from typing import Any

import pyarrow as pa

from airloom.datasets.types import profile
from airloom.errors import ConfigError, ValidationFailed
from airloom.settings import Settings


def validate(settings: Settings, dataset: str, batch: pa.Table, suite: Path | None = None) -> str:
    """Check the batch's profile against the dataset's suite; returns the path of the readable report.

    Raises:
        ConfigError: there is no suite, or it is none.
        ValidationFailed: an expectation is not met; the batch lies in quarantine with its report.
    """
    path = suite or settings.project / "configs" / "expectations" / f"{dataset}.json"
    result = _run(path, profile(batch))
    if result["success"]:
        return str(_report(settings.home / "reports" / dataset, result))
    folder = settings.home / "quarantine" / dataset / uuid.uuid4().hex
    report = _report(folder, result)
    with pa.ipc.new_file(str(folder / "batch.arrow"), batch.schema) as writer:
        writer.write_table(batch)
    failed = [_line(entry) for entry in result["results"] if not entry["success"]]
    message = f"{batch.num_rows} rows for {dataset} did not pass {path.name}: {'; '.join(failed)}"
    raise ValidationFailed(message, f"no version was made; the report is {report}", str(report))


def _line(entry: dict[str, Any]) -> str:
    config = entry["expectation_config"]
    limits = {k: v for k, v in config["kwargs"].items() if k not in {"batch_id", "column"}}
    result = entry.get("result") or {}
    seen = result.get("partial_unexpected_list", [])[:5] or result.get("observed_value", "")
    return f"{config['kwargs'].get('column', 'table')}: {config['type']} {limits}, found {seen}"


def _run(path: Path, frame: Any) -> dict[str, Any]:
    import great_expectations as gx

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    try:
        suite = context.suites.add(gx.ExpectationSuite(**json.loads(path.read_text())))
    except FileNotFoundError:
        raise ConfigError(f"there is no expectation suite {path}", "write one: data is not taken unvalidated") from None
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigError(f"{path} is no expectation suite: {str(error)[:300]}", "mend the file") from None
    source = context.data_sources.add_pandas("batch").add_dataframe_asset("profile")
    batch = source.add_batch_definition_whole_dataframe("whole").get_batch(batch_parameters={"dataframe": frame})
    result = batch.validate(suite, result_format="SUMMARY")
    return dict(json.loads(json.dumps(result.to_json_dict())))


def _report(folder: Path, result: dict[str, Any]) -> Path:
    """The result as JSON, and as the page that Great Expectations' Data Docs make of it."""
    from great_expectations.core import ExpectationSuiteValidationResult
    from great_expectations.core.expectation_validation_result import ExpectationSuiteValidationResultSchema
    from great_expectations.render.renderer import ValidationResultsPageRenderer
    from great_expectations.render.view import DefaultJinjaPageView

    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    name = f"validation-{uuid.uuid4().hex[:12]}"
    (folder / f"{name}.json").write_text(json.dumps(result, indent=1))
    # Rendered from plain JSON: from the live result the renderer drops every numpy number.
    loaded = ExpectationSuiteValidationResultSchema().load(result)
    plain = (
        loaded if isinstance(loaded, ExpectationSuiteValidationResult) else ExpectationSuiteValidationResult(**loaded)
    )
    page = folder / f"{name}.html"
    page.write_text(DefaultJinjaPageView().render(ValidationResultsPageRenderer().render(plain)))
    return page
