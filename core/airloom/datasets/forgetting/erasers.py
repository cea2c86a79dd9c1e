"""The places in this home that belong to datasets: snapshots, validation reports, quarantine, lookups."""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from airloom.datasets import versions
from airloom.datasets.forgetting.places import Eraser, Place
from airloom.datasets.forgetting.search import Found
from airloom.datasets.snapshots.files import read_record
from airloom.datasets.storage.git import git
from airloom.datasets.validation import quarantine
from airloom.datasets.validation.validate import suite_path
from airloom.errors import CorruptFile, DataError
from airloom.files import write_private
from airloom.settings import Settings

TELLING = 4  # characters of a key that are looked for in logs
TEXTS = (".log", ".txt", ".json", ".jsonl")
ERASED = "<!doctype html><title>erased</title><p>This report was erased: rows that it showed were forgotten.</p>\n"


class Snapshots:
    """Row numbers and statistics of the dataset's snapshots. Each is prepared again when it is asked for."""

    name = "snapshot"

    def holds(self, settings: Settings, found: Found) -> list[Place]:
        """See `Eraser`."""
        places, folder = [], settings.home / "snapshots"
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            try:
                record = read_record(settings, path.name)
            except (CorruptFile, DataError):
                continue
            if record and record["snapshot"]["dataset"] == found.dataset:
                places.append(Place(self.name, path.name, True, f"of {found.dataset}@v{record['snapshot']['version']}"))
        return places

    def erase(self, settings: Settings, place: Place) -> None:
        """See `Eraser`."""
        shutil.rmtree(settings.home / "snapshots" / place.name, ignore_errors=True)


class Lookup:
    """Digests of inputs by which equal rows are found; made again when they are needed."""

    name = "lookup"

    def holds(self, settings: Settings, found: Found) -> list[Place]:
        """See `Eraser`."""
        there = (settings.home / "data" / "lookup" / found.dataset).is_dir()
        return [Place(self.name, found.dataset, True, "digests of inputs")] if there else []

    def erase(self, settings: Settings, place: Place) -> None:
        """See `Eraser`."""
        shutil.rmtree(settings.home / "data" / "lookup" / versions.check_name(place.name), ignore_errors=True)


class Reports:
    """Validation reports (Data Docs) of the commits that brought the rows; those of refused batches are only named."""

    name = "report"

    def holds(self, settings: Settings, found: Found) -> list[Place]:
        """See `Eraser`."""
        places, known = [], set[str]()
        for version, _ in versions.history(settings, found.dataset):
            known.add(Path(version.report).stem)
            if version.report and version.number in found.brought:
                there = (settings.home / version.report).is_file()
                note = f"of {version.name}" if there else f"of {version.name}, in the home that committed it"
                places.append(Place(self.name, version.report, there, note))
        folder = settings.home / "reports" / found.dataset
        others = sorted(path for path in folder.glob("validation-*.html") if path.stem not in known)
        if others:
            note = (
                f"{len(others)} reports of batches that made no version; they may show such rows, look and remove them"
            )
            places.append(Place(self.name, str(folder.relative_to(settings.home)), False, note))
        return places

    def erase(self, settings: Settings, place: Place) -> None:
        """See `Eraser`. A page stays in its place, as the version and model cards link to it."""
        page = settings.home / place.name
        page.with_suffix(".json").unlink(missing_ok=True)
        if page.is_file():
            write_private(page, ERASED)


class Quarantine:
    """Batches that wait for a person's decision; one with such a row is dropped whole."""

    name = "quarantine"

    def holds(self, settings: Settings, found: Found) -> list[Place]:
        """See `Eraser`."""
        places = []
        for batch in quarantine.list_batches(settings):
            files = [settings.home / "quarantine" / batch.id / name for name in batch.files]
            if batch.dataset == found.dataset and any(_has(found, file) for file in files):
                note = f"all its {batch.rows} rows are dropped: commit the others again"
                places.append(Place(self.name, batch.id, True, note))
        return places

    def erase(self, settings: Settings, place: Place) -> None:
        """See `Eraser`."""
        try:
            quarantine.drop(settings, place.name)
        except DataError:  # a person was faster, or an earlier try
            return


class Logs:
    """Text files of jobs and of the stack that have a key in them: a log says which values a suite refused."""

    name = "log"

    def holds(self, settings: Settings, found: Found) -> list[Place]:
        """See `Eraser`."""
        keys = [str(value) for _, values in found.values for value in values.to_pylist()]
        words = [re.escape(key.encode()) for key in keys if len(key) >= TELLING]
        folders = [settings.home / name for name in ("jobs", "logs")]
        if not words:
            note = f"not searched: a key of fewer than {TELLING} characters stands in every log"
            there = [folder for folder in folders if folder.is_dir()]
            return [Place(self.name, folder.name, False, note) for folder in there]
        mark = re.compile(rb"(?<!\w)(?:" + b"|".join(words) + rb")(?!\w)")
        files = (file for folder in folders for file in sorted(folder.rglob("*")) if file.suffix in TEXTS)
        named = [file for file in files if file.is_file() and _matches(mark, file)]
        return [Place(self.name, str(file.relative_to(settings.home)), False, "names a key") for file in named]

    def erase(self, settings: Settings, place: Place) -> None:
        """See `Eraser`: a person decides what of a log goes."""


class Others:
    """What no program here can reach, and what people wrote."""

    name = "other"

    def holds(self, settings: Settings, found: Found) -> list[Place]:
        """See `Eraser`."""
        places = []
        if settings.data_remote:
            note = "its unreachable objects: run `git gc --prune=now` there, when nobody pushes"
            places.append(Place(self.name, settings.data_remote, False, note))
            places.append(Place(self.name, "other homes of this remote", False, "`airloom gc --apply` in each of them"))
        places.append(Place(self.name, "clones and exports", False, "made by git, DVC or `export` before: pull again"))
        if found.unkeyed:
            names = ", ".join(f"v{number}" for number in sorted(found.unkeyed))
            places.append(Place(self.name, f"{found.dataset} {names}", False, "without a key: not searched"))
        suite = suite_path(settings, found.dataset)
        if suite.is_file():
            note = "limits that were drafted from the rows may be a value of one"
            places.append(Place(self.name, f"configs/expectations/{suite.name}", False, note))
        repo = settings.data_repo
        words = {str(value) for _, values in found.values for value in values.to_pylist()}
        text = git(repo, "log", "--all", "--format=%h%x00%B%x01").stdout
        for entry in text.split("\x01"):
            commit, _, message = entry.strip().partition("\0")
            if any(names_word(message, word) for word in words):
                places.append(Place(self.name, f"message of commit {commit}", False, "names a key"))
        return places

    def erase(self, settings: Settings, place: Place) -> None:
        """See `Eraser`: nothing of it can be erased."""


def names_word(text: str, word: str) -> bool:
    """Whether a text has a word, and not as a part of a longer one."""
    return bool(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text))


def _matches(mark: re.Pattern[bytes], file: Path) -> bool:
    with file.open("rb") as lines:
        return any(mark.search(line) for line in lines)


def _has(found: Found, file: Path) -> bool:
    try:
        with pa.memory_map(str(file)) as source:
            table = pa.ipc.open_file(source).read_all()
            return any(found.holds(name, table.column(name)) for name in table.column_names)
    except (pa.ArrowException, OSError):
        return False


OWN: Sequence[Eraser] = (Snapshots(), Lookup(), Reports(), Quarantine(), Logs(), Others())
