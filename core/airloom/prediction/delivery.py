"""Bring the answers where they are wanted: a Parquet file, a folder of them, or a dataset."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airloom.contracts import DatasetVersion, Record
from airloom.datasets import commit as commits
from airloom.datasets import versions
from airloom.datasets.open_rows import open_rows
from airloom.datasets.validation.validate import suite_path
from airloom.errors import ConfigError
from airloom.files import file_sha256, replacing, sync, writing
from airloom.names import DatasetName
from airloom.prediction.folder import Folder
from airloom.prediction.request import Request
from airloom.settings import Settings

BEGUN = "begun"  # a delivery whose end is not known: what is there may be ours
# What holds of any answers; a project's own suite of the dataset says more, and stands in its place.
SUITE = {
    "expectations": [
        {"type": kind, "kwargs": values, "severity": "critical"}
        for kind, values in (
            ("expect_table_row_count_to_be_between", {"min_value": 1}),
            ("expect_column_values_to_not_be_null", {"column": "prediction_id.characters"}),
            (
                "expect_column_values_to_be_between",
                {"column": "prediction_id.characters", "min_value": 36, "max_value": 36},
            ),
            ("expect_column_values_to_be_between", {"column": "row", "min_value": 0}),
        )
    ],
    "meta": {"notes": "Of the answers of a batch prediction."},
}


@dataclass(frozen=True)
class Target(Record):
    """Where the answers go; nowhere else than the state folder where both are empty.

    Attributes:
        out: a Parquet file, or a folder for one file a part; an absolute path.
        commit: a dataset, to which a version is added.
        author: who commits.
    """

    out: str = ""
    commit: str = ""
    author: str = ""

    @property
    def name(self) -> str:
        """What tells it from others; empty for none."""
        return f"out {self.out}" if self.out else f"commit {self.commit}" if self.commit else ""


def check(settings: Settings, request: Request, folder: Folder, target: Target) -> None:
    """Refuse a target that will not do, before anything is answered.

    Raises:
        ConfigError: the file is there already, or the dataset is the one that is read.
    """
    if target.out and target.commit:
        raise ConfigError("--out and --commit are both given", "give one; then predict again with the other")
    if target.out:
        out = Path(target.out)
        known = folder.delivered().get(target.name, "")
        if out.exists() and known != BEGUN and (not known or _digest(out) != known):
            raise ConfigError(f"{out} exists", "give a path that does not, or remove it")
        if out.is_relative_to(settings.home):
            raise ConfigError(f"{out} lies in the state folder", "give a path outside it")
    if target.commit:
        versions.check_name(target.commit)
        if target.commit == DatasetName.parse(request.dataset).dataset:
            raise ConfigError(f"{target.commit} is the dataset that is read", "name another one for the answers")


def there(settings: Settings, folder: Folder, target: Target) -> str:
    """Where the answers are already that were brought to this target: the path or the version; empty where nowhere."""
    known = folder.delivered().get(target.name, "")
    if target.out:
        return target.out if known not in ("", BEGUN) and _digest(Path(target.out)) == known else ""
    if known and target.commit:
        there = {version.name for version in _versions(settings, target.commit)}
        return known if known in there else ""
    return ""


def deliver(settings: Settings, request: Request, folder: Folder, target: Target) -> str:
    """Bring the answers to the target; again does no harm. Returns the path or the version.

    Args:
        settings: of this installation.
        request: which is answered wholly.
        folder: which nobody else works on.
        target: where to.

    Raises:
        ConfigError: something else is there by now.
        ValidationFailed: the dataset's suite refused the rows.
        DataAway: the disk or the data remote does not take it.
    """
    if not target.name:
        return ""
    if found := there(settings, folder, target):
        return found
    if target.commit:
        result = kept = _commit(settings, request, folder, target)
    else:
        folder.keep("delivered.json", folder.delivered() | {target.name: BEGUN})
        result, kept = target.out, _write(folder, Path(target.out), request.id[:12])
    folder.keep("delivered.json", folder.delivered() | {target.name: kept})
    return result


def _write(folder: Folder, out: Path, mark: str) -> str:
    """Write file or folder, at once or not at all; its digest."""
    files = [folder.file(part) for part in range(len(folder.plan() or []))]
    with writing(out, "no answer is lost: the same command goes on"):
        if out.suffix == ".parquet":
            with replacing(out, mark) as draft:
                _join(files, draft)
                _check_free(out, _digest(draft))
        else:
            _copy(files, out, out.with_name(f".{out.name}.{mark}"))
    return _digest(out)


def _join(files: list[Path], draft: Path) -> None:
    """One file with a row group for each part: as much as one part is in memory."""
    from pyarrow import parquet

    with parquet.ParquetWriter(draft, parquet.read_schema(files[0])) as writer:
        for file in files:
            writer.write_table(parquet.read_table(file))


def _copy(files: list[Path], out: Path, draft: Path) -> None:
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        for file in files:
            shutil.copyfile(file, draft / file.name)
            sync(draft / file.name)
        sync(draft)
        if out.exists():
            _check_free(out, _digest(draft))
        else:
            draft.rename(out)
        sync(out.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _check_free(out: Path, digest: str) -> None:
    """What is there since an interrupted delivery may be replaced by the same, and by nothing else."""
    if out.exists() and _digest(out) != digest:
        raise ConfigError(f"{out} exists, and holds something else", "give a path that does not, or remove it")


def _digest(place: Path) -> str:
    """Of a file, or of the files of a folder; empty where there is none."""
    if place.is_dir():
        return ",".join(f"{file.name}:{file_sha256(file)}" for file in sorted(place.iterdir()) if file.is_file())
    return file_sha256(place) if place.is_file() else ""


def _commit(settings: Settings, request: Request, folder: Folder, target: Target) -> str:
    """Add a version with the answers, through the door of every commit; one that is there since a kill is taken."""
    source = f"batch prediction {request.id}"
    made = [version.name for version in _versions(settings, target.commit) if version.source == source]
    if made:
        return made[-1]
    head = commits.tip(settings, target.commit).manifest
    roles: dict[str, Any] = {} if head else {"type": "generic", "key": request.key}
    batches = open_rows(settings, target.commit, folder.parts, **roles)
    title = f"answers of {request.title(settings)}"
    author = target.author or None
    suite = None
    if not suite_path(settings, target.commit).exists():
        folder.keep("suite.json", {"name": target.commit, **SUITE})
        suite = folder.path / "suite.json"
    return commits.commit(
        settings, target.commit, batches, message=title, author=author, source=source, suite=suite
    ).name


def _versions(settings: Settings, dataset: str) -> list[DatasetVersion]:
    return versions.list_after(settings, dataset, 0)
