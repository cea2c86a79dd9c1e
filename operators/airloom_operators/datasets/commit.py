"""Commit rows to a dataset."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from airloom_operators.base import who
from airloom_operators.datasets.base import DatasetJobOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airloom.jobs.spec import JobSpec
    from airloom.settings import Settings


class CommitDatasetOperator(DatasetJobOperator):
    """Validate the rows of a file or folder and make them a new version; skip when nothing is new.

    Rows that do not pass their suite are in quarantine and fail the task without a retry, with the path of the report.

    Args:
        dataset: its name; the first commit creates it.
        source: file or folder, from the project's root or absolute.
        message: what is new.
        author: who says so; by default the user who triggered the DAG run, else the service.
        mode: "append" the rows, or "replace" all rows by them.
        tags: words that a snapshot can choose rows by.
        type: dataset type of a new dataset; found out where left out.
        label: label column of a new dataset.
        key: the column of a new dataset that decides the split.
        split: the column of a new dataset that tells a published split.
        parts: the values of it that name each part: `{"train": ["training"], "test": ["Test"]}`.
        classes: the labels that these rows may have; any other is refused. Left out, any is good.
        reading: how the values are written: `columns` (type by name), `encoding`, `delimiter`, `decimal`, `channels`,
            `unlabelled`; as the options of `airloom dataset commit`.
        suite: expectation suite, from the project's root; by default configs/expectations/<dataset>.json.
        equal_inputs: what becomes of rows whose inputs are there already: "allow", "same_split" or "refuse"; by default
            what the dataset or its type says.
        drop_duplicates: leave such rows out.
    """

    function = "commit"
    template_fields: Sequence[str] = ("dataset", "source", "message", "author", "tags", "suite")

    def __init__(
        self,
        *,
        dataset: str,
        source: str,
        message: str,
        author: str | None = None,
        mode: str = "append",
        tags: Any = (),
        type: str = "",
        label: str = "",
        key: str = "",
        split: str = "",
        parts: Mapping[str, Sequence[Any]] | None = None,
        classes: Sequence[str] = (),
        reading: Mapping[str, Any] | None = None,
        suite: str | None = None,
        equal_inputs: str = "",
        drop_duplicates: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.dataset = dataset
        self.source = source
        self.message = message
        self.author = author
        self.mode = mode
        self.tags = tags
        self.roles: dict[str, Any] = {"type": type, "label": label, "key": key, "classes": list(classes)}
        self.roles |= {"split": split, "parts": {part: list(values) for part, values in (parts or {}).items()}}
        self.suite = suite
        self.reading = reading
        self.equal = {"equal_inputs": equal_inputs, "drop_duplicates": drop_duplicates}

    def job_of(self, settings: "Settings", context: "Context") -> "tuple[str, JobSpec]":
        """See `DatasetJobOperator`."""
        self.author = self.author or who(context, settings)
        return super().job_of(settings, context)

    def arguments(self) -> dict[str, Any]:
        """See `DatasetJobOperator`."""
        details = {"message": self.message, "author": self.author, "mode": self.mode, "tags": list(self.tags)}
        arguments = {"dataset": self.dataset, "source": self.source, "suite": self.suite}
        roles = self.roles | {"reading": dict(self.reading or {})}
        return {**arguments, "roles": roles, "details": details | self.equal}

    def finished(self, context: "Context", value: dict[str, Any]) -> dict[str, Any]:
        """Return the new version.

        Raises:
            AirflowFailException: the rows are in quarantine.
            AirflowSkipException: the newest version has these rows already.
        """
        if "refused" in value:
            raise AirflowFailException(value["refused"])
        if "unchanged" in value and context["ti"].try_number == 1:
            raise AirflowSkipException(f"{value['unchanged']['name']} has these rows already")
        # On a retry the version may be one that an earlier attempt made before it was killed.
        version: dict[str, Any] = value.get("version") or value["unchanged"]
        self.log.info("%s: %s rows, id %s", version["name"], version["rows"], version["id"])
        return version
