"""Rows that a command takes from a file or folder, and what is said of their columns."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from airloom.errors import DataError
from airloom.settings import Settings

if TYPE_CHECKING:
    from airloom.datasets.ingest import Batches

FILES = "A file (.csv .jsonl .parquet .arrow .npz .npy), a folder of them, or a folder a class."
Source = Annotated[Path, typer.Argument(help=FILES)]
Type = Annotated[str, typer.Option("--type", help="image, text, tabular, generic; found out when left out.")]
Label = Annotated[str, typer.Option(help="The label column; `label` when left out.")]
Key = Annotated[str, typer.Option(help="The column that decides the split, for example a patient's number.")]
Classes = Annotated[str, typer.Option(help="Text labels in the order of their numbers, with commas between.")]


def roles_of(type_: str = "", label: str = "", key: str = "", classes: str = "") -> dict[str, Any]:
    """What the options say of the columns, as `open_source` takes it."""
    return {"type": type_, "label": label, "key": key, "classes": [c for c in classes.split(",") if c]}


def rows_of(settings: Settings, dataset: str, source: Path, roles: dict[str, Any], *, anew: bool = False) -> "Batches":
    """The rows of a source, in the columns of the dataset where it exists; `anew`: in their own.

    Raises:
        DataError: the roles are others than the dataset's.
    """
    from airloom.datasets import commit as commits
    from airloom.datasets import versions
    from airloom.datasets.ingest import open_source
    from airloom.datasets.types.labels import classes_of

    versions.check_name(dataset)
    head = commits.tip(settings, dataset).manifest
    if head is None or anew:
        return open_source(source, **roles)
    own: dict[str, Any] = {role: getattr(head.layout, role) for role in ("type", "label", "key")}
    for role, has in (own | {"classes": classes_of(head.arrow_schema, head.layout)}).items():
        said = roles[role]
        if said and said != has:
            message = f"{dataset} has the {role} {has or 'none'!r}, not {said!r}"
            raise DataError(message, f"leave --{role} out, or make another dataset")
    return open_source(source, **own, schema=head.arrow_schema)
