"""The options with which commands name rows in a file or folder, and what is said of their columns."""

from pathlib import Path
from typing import Annotated, Any

import typer

FILES = "A file (.csv .jsonl .parquet .arrow .npz .npy), a folder of them, or a folder a class."
Source = Annotated[Path, typer.Argument(help=FILES)]
Type = Annotated[str, typer.Option("--type", help="image, text, tabular, generic; found out when left out.")]
Label = Annotated[str, typer.Option(help="The label column; `label` when left out.")]
Key = Annotated[str, typer.Option(help="The column that decides the split, for example a patient's number.")]
Classes = Annotated[str, typer.Option(help="Text labels in the order of their numbers, with commas between.")]


def roles_of(type_: str = "", label: str = "", key: str = "", classes: str = "") -> dict[str, Any]:
    """What the options say of the columns, as `open_rows` takes it."""
    return {"type": type_, "label": label, "key": key, "classes": [c for c in classes.split(",") if c]}
