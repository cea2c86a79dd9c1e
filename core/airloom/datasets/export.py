"""Hand a version or a snapshot's split to others: Parquet, a folder, or a Hugging Face dataset on disk."""

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pyarrow as pa

from airloom.datasets.storage.schema import Layout
from airloom.errors import ConfigError, DataError
from airloom.settings import Settings

Form = Literal["parquet", "folder", "hf"]


def export_named(
    settings: Settings, name: str, target: Path, form: str, split: str = "", *, allow_redacted: bool = False
) -> tuple[Path, int]:
    """Write a version (`digits@v2`), or a split of a snapshot that is named by its id; returns the path and the rows.

    Args:
        settings: of this installation.
        name: of the version, or the id of the snapshot.
        target: file or folder to make.
        form: see `export`.
        split: of the snapshot; "" for a version.
        allow_redacted: write what is left of a version, where rows of it were forgotten.

    Raises:
        Redacted: rows of it were forgotten, and what is left was not asked for.
        ConfigError: the form is not known, the target exists, or the form does not fit the type.
        DataError: there is no such version or snapshot.
    """
    from airloom.datasets import versions
    from airloom.datasets.read import read
    from airloom.datasets.snapshots import snapshot

    if form not in get_args(Form):
        raise ConfigError(f"the form {form!r} is not known", f"one of {', '.join(get_args(Form))}")
    if split:
        opened = snapshot.open_snapshot(settings, snapshot.fetch(settings, name))
        table, layout = opened.table(split), opened.layout
    else:
        version = versions.find(settings, name)
        table = read(settings, version, allow_redacted=allow_redacted)
        layout = versions.manifest_of(settings, version).layout
    return export(table, layout, form, target), table.num_rows  # type: ignore[arg-type] # checked above


def export(table: pa.Table, layout: Layout, form: Form, target: Path) -> Path:
    """Write rows to `target`, which must not exist, at once or not at all.

    Args:
        table: the rows.
        layout: roles of the columns.
        form: `parquet` writes one file, `folder` a file a row below its label's folder, `hf` what `load_from_disk`
            reads.
        target: file or folder to make.

    Raises:
        ConfigError: the target exists, or the form does not fit the type.
        DataError: a label cannot be a folder's name.
    """
    if target.exists():
        raise ConfigError(f"{target} exists", "give a path that does not")
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
    try:
        {"parquet": _parquet, "folder": _folder, "hf": _hf}[form](table, layout, temporary)
        temporary.rename(target)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        else:
            temporary.unlink(missing_ok=True)
    return target


def _parquet(table: pa.Table, _layout: Layout, target: Path) -> None:
    import pyarrow.parquet as pq

    pq.write_table(table, target)


def _hf(table: pa.Table, _layout: Layout, target: Path) -> None:
    """The layout that `datasets` documents for Arrow: stream files, `state.json`, `dataset_info.json`."""
    try:
        import datasets  # type: ignore[import-not-found] # an optional package
    except ImportError as error:  # the package itself, or one that it needs
        raise ConfigError(
            f"the package `datasets` cannot be imported: {error}", "pip install datasets, or export parquet"
        ) from None
    datasets.Dataset(table).save_to_disk(str(target))


def _folder(table: pa.Table, layout: Layout, target: Path) -> None:
    if layout.type not in ("image", "text") or not layout.label:
        raise ConfigError(f"rows of type {layout.type} do not go into a folder", "export parquet")
    target.mkdir()
    labels = [str(label) for label in table.column(layout.label).to_pylist()]
    wrong = [name for name in set(labels) if name in ("", ".", "..") or set(name) & set("/\\\0") or len(name) > 200]
    if wrong:
        raise DataError(f"the label {wrong[0][:80]!r} cannot be a folder's name", "export parquet")
    for name in set(labels):
        (target / name).mkdir()
    if layout.type == "image":
        suffix, files = "png", _pictures(table)
    else:
        texts = table.column(layout.inputs(table.schema)[0]).to_pylist()
        suffix, files = "txt", (text.encode() for text in texts)
    for number, (label, content) in enumerate(zip(labels, files, strict=True)):
        (target / label / f"{number:08d}.{suffix}").write_bytes(content)


def _pictures(table: pa.Table) -> Iterator[bytes]:
    import io

    from PIL import Image

    channels, height, width = (int(n) for n in table.schema.field("image").metadata[b"shape"].split(b","))
    for chunk in table.column("image").chunks:
        values = chunk.flatten().to_numpy()
        if values.dtype != np.uint8:
            values = (np.clip(values, 0, 1) * 255).round().astype(np.uint8)
        for pixels in values.reshape(-1, channels, height, width):
            buffer = io.BytesIO()
            Image.fromarray(pixels[0] if channels == 1 else pixels.transpose(1, 2, 0)).save(buffer, "png")
            yield buffer.getvalue()
