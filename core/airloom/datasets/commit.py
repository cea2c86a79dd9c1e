"""Commit a batch: validated, stored and pushed first, then made visible by one atomic git push."""

import dataclasses
import random
import re
import time
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import pyarrow as pa

from airloom.contracts import DatasetVersion
from airloom.datasets import identity, quarantine, repository, shards, versions
from airloom.datasets.ingest import from_table
from airloom.datasets.layout import Layout
from airloom.datasets.manifest import Manifest, Shard
from airloom.datasets.read import md5_of, shard_table
from airloom.datasets.types import get_type
from airloom.datasets.validation import validate
from airloom.errors import DataError, NothingChanged, ValidationFailed
from airloom.settings import Settings

Mode = Literal["append", "replace"]
RACES = 30  # that many losses in a row mean that something else is wrong
LOCKS = 6  # and that many tries at a ref that another git has locked
LOST = ("(fetch first)", "(non-fast-forward)", "already exists", "but expected")  # what git says to the slower one
LOCKED = re.compile(r"Unable to create '(.+?\.lock)': File exists")


def commit(
    settings: Settings,
    dataset: str,
    table: pa.Table,
    *,
    message: str,
    author: str = "airloom",
    mode: Mode = "append",
    source: str = "",
    suite: Path | None = None,
) -> DatasetVersion:
    """Make a new version of `dataset` from its newest one and `table`.

    Args:
        settings: of this installation.
        dataset: its name; the first commit creates it.
        table: the rows, as a dataset type built them.
        message: what is new.
        author: who says so.
        mode: append the rows, or replace all rows by them.
        source: where the rows come from.
        suite: expectation suite; by default configs/expectations/<dataset>.json of the project.

    Raises:
        ValidationFailed: the rows are in quarantine, nothing else happened.
        NothingChanged: the newest version has exactly these rows already.
        DataError: the columns differ from the dataset's, or there are no rows.
    """
    versions.check_name(dataset)
    if table.num_rows == 0:
        raise DataError(f"the batch for {dataset} has no rows", "commit at least one row")
    identity.check_nulls(dataset, table)
    settings.make_home()
    report = _validated(settings, dataset, table, suite)
    with repository.writer(settings) as work:
        for _ in range(RACES):
            head = _head(work, dataset)
            made = _next(
                settings, dataset, head, identity.fit(dataset, head.arrow_schema if head else None, table), mode
            )
            made = replace(made, message=message, author=author, source=source, report=report)
            listing = _write(settings, work, dataset, made)
            _push_data(work)
            _check_pushed(settings, made, listing)
            if _publish(work, dataset, made, author):
                return versions.get(settings, dataset, made.number)
            time.sleep(random.uniform(0, 0.2))  # noqa: S311 - spreads racing writers, keeps no secret
            repository.git(work, "fetch", "-q", "--tags", "--force", "origin")
            repository.git(work, "reset", "-q", "--hard", "origin/main")
    raise DataError(f"{RACES} other commits came first, {dataset} was not changed", "commit again")


def _validated(settings: Settings, dataset: str, table: pa.Table, suite: Path | None) -> str:
    layout = Layout("image", label="label")
    known = table.select([name for name in ("image", "label") if name in table.column_names])
    report = validate(settings, dataset, get_type("image").profile(from_table(known, layout).to_table(), layout), suite)
    if report.passed:
        return report.page
    file = settings.home / "quarantine" / f".batch-{uuid.uuid4().hex}.arrow"
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with pa.ipc.new_file(str(file), table.schema) as writer:
        writer.write_table(table)
    held = quarantine.show(
        settings, quarantine.keep(settings, dataset, [file], {"layout": dataclasses.asdict(layout)}, report)
    )
    file.unlink()
    message = f"{table.num_rows} rows for {dataset} did not pass: {'; '.join(report.failed)}"
    raise ValidationFailed(message, f"no version was made; the batch is {held.id}, the report {held.page}", held.page)


def _head(work: Path, dataset: str) -> Manifest | None:
    path = work / dataset / "manifest.json"
    return Manifest.from_json(path.read_text()) if path.exists() else None


def _next(settings: Settings, dataset: str, head: Manifest | None, table: pa.Table, mode: Mode) -> Manifest:
    """The manifest after the commit, with the checks that look at the version before it."""
    digests = identity.row_digests(table)
    kept: list[Shard] = []
    rows: list[bytes] = []
    if head is not None and mode == "append":
        kept = list(head.shards)
        rows = [digest for shard in kept for digest in identity.row_digests(shard_table(settings, shard))]
        if rows[-len(digests) :] == digests:
            raise NothingChanged(f"{dataset}@v{head.number} ends with exactly these rows", "nothing was committed")
    version = identity.version_id(table.schema, [*rows, *digests])
    if head is not None and head.id == version:
        raise NothingChanged(f"{dataset}@v{head.number} has exactly these rows", "nothing was committed")
    return Manifest(
        number=head.number + 1 if head else 1,
        id=version,
        shards=[*kept, shards.write_shard(settings, table)],
        schema=table.schema.serialize().to_pybytes().hex(),
        message="",
        author="",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        source="",
        report="",
        parent=head.id if head else "",
    )


def _write(settings: Settings, work: Path, dataset: str, made: Manifest) -> str:
    folder = work / dataset
    folder.mkdir(exist_ok=True)
    (folder / "manifest.json").write_text(made.to_json())
    return shards.write_output(settings, folder, made.shards)


def _push_data(work: Path) -> None:
    """To the DVC remote, before anything is visible. DVC skips what is there: after a race only the listing is new."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(str(work), _wait_for_lock=True) as repo:
            repo.push()
    except DvcException as error:
        raise DataError(f"the data did not reach the DVC remote: {error}", "nothing is visible; commit again") from None


def _check_pushed(settings: Settings, made: Manifest, listing: str) -> None:
    """What others will read must be in the remote, and the new shard undamaged: DVC skips what it finds there."""
    wanted = [(shard.md5, shard.bytes) for shard in made.shards]
    paths = {repository.stored(settings, md5): size for md5, size in wanted}
    missing = [path for path, size in paths.items() if not path.is_file() or path.stat().st_size != size]
    if not repository.stored(settings, listing).is_file():
        missing.append(repository.stored(settings, listing))
    if missing:
        raise DataError(
            f"{missing[0]} is not in the DVC remote, or not whole", "nothing is visible; look at the remote"
        )
    new = made.shards[-1].md5
    if md5_of(repository.stored(settings, new)) != new:
        message = f"{repository.stored(settings, new)} is damaged: its MD5 is another"
        raise DataError(message, "nothing is visible; remove that file and commit again")


def _publish(work: Path, dataset: str, made: Manifest, author: str) -> bool:
    """One atomic push of branch and tag; False when another commit was first."""
    tag = f"{dataset}@v{made.number}"
    subject = f"{tag}: {made.message}"
    repository.git(work, "add", "--", dataset)
    repository.git(work, "commit", "-q", "-m", subject, author=author)
    repository.git(work, "tag", "-f", "-a", "-m", subject, tag)
    for _ in range(LOCKS):
        pushed = repository.git(
            work, "push", "-q", "--atomic", "origin", "HEAD:refs/heads/main", f"refs/tags/{tag}", check=False
        )
        if pushed.returncode == 0:
            return True
        if any(sign in pushed.stderr for sign in LOST):
            return False
        locked = LOCKED.search(pushed.stderr)
        if not locked:
            break
        time.sleep(random.uniform(0.1, 0.4))  # noqa: S311 - as above
    if locked:
        message = f"the push of {tag} failed: another git process holds {locked[1]}"
        raise DataError(message, "nothing is visible; if no git is running there, remove that file and commit again")
    raise DataError(f"the push of {tag} failed: {pushed.stderr.strip()[:500]}", "nothing is visible; commit again")
