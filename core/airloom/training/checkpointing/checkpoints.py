"""The files of checkpoints: written at once or not at all, checked when read, few of them."""

import hashlib
import logging
import os
import pickle
import time
from pathlib import Path
from typing import Any

from airloom.errors import ConfigError
from airloom.files import file_sha256, sync

KEEP = 2
FIRST = 0.01  # seconds that a small checkpoint is guessed to cost, until one was written
_PLAIN = "keep only tensors, numbers, texts, lists and dicts in the state of what you hand over"
log = logging.getLogger(__name__)


class Checkpoints:
    """A folder of checkpoints `<number>-<SHA-256>.pt`, each a plain torch file that loads without pickled code.

    The digest stands in the name, so a file and its digest appear in one step.

    Args:
        folder: created when the first one is saved.
        keep: so many of the newest stay.
    """

    def __init__(self, folder: Path, keep: int = KEEP) -> None:
        self.folder, self._keep = folder, keep
        self._proven = False

    def save(self, values: dict[str, Any]) -> Path | None:
        """Write a checkpoint, forced to the disk; None, with a warning, where the disk refuses: the older ones stay.

        Args:
            values: tensors, numbers, texts, lists and dicts of such.

        Raises:
            ConfigError: something in it would need pickled code to be read again.
        """
        import torch

        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = self.folder / f".{os.getpid()}.tmp"
        writer = _Hashing(temporary)
        try:
            with writer:
                torch.save(values, writer)  # type: ignore[arg-type]  # all that it calls is there
            self._prove(temporary)
            path = self.folder / f"{self._next():08d}-{writer.digest}.pt"
            temporary.rename(path)
            sync(self.folder)
        except (AttributeError, TypeError, pickle.PicklingError) as error:
            raise ConfigError(f"a checkpoint cannot hold this: {str(error)[:200]}", _PLAIN) from None
        except (OSError, RuntimeError) as error:
            # torch reports a full disk in words of its own
            reason = error if isinstance(error, OSError) else writer.error
            if reason is None:
                raise
            log.warning("no checkpoint could be written to %s: %s; the one before stays", self.folder, reason)
            return None
        finally:
            temporary.unlink(missing_ok=True)
        self._tidy()
        return path

    def newest(self) -> Path | None:
        """The newest complete checkpoint; a damaged one is passed over with a warning."""
        for path in reversed(self._files()):
            wanted = path.stem.partition("-")[2]
            digest = file_sha256(path)
            if digest == wanted:
                return path
            log.warning("checkpoint %s is damaged and passed over: its SHA-256 is %s…", path.name[:21], digest[:12])
        return None

    def load(self, path: Path) -> dict[str, Any]:
        """The values of a checkpoint that `newest` returned, on the CPU.

        Raises:
            ConfigError: it is no checkpoint.
        """
        import torch

        try:
            return dict(torch.load(path, map_location="cpu", weights_only=True))
        except (pickle.UnpicklingError, RuntimeError, EOFError, TypeError) as error:
            message = f"checkpoint {path} cannot be read: {str(error).splitlines()[0][:200]}"
            raise ConfigError(message, "clear the task: it starts anew, without its checkpoints") from None

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("[0-9]*-*.pt"))

    def _next(self) -> int:
        files = self._files()
        return int(files[-1].name.partition("-")[0]) + 1 if files else 1

    def _tidy(self) -> None:
        for path in self._files()[: -self._keep]:
            path.unlink()
        for path in self.folder.glob(".*.tmp"):  # of a killed attempt
            path.unlink()

    def _prove(self, path: Path) -> None:
        """Once: what cannot be read back is better known now than after a crash. Mapped: the tensors cost nothing."""
        import torch

        if self._proven:
            return
        try:
            torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except pickle.UnpicklingError as error:
            reason = next((line for line in str(error).splitlines() if "GLOBAL" in line or "Unsupported" in line), "")
            raise ConfigError(f"a checkpoint would need pickled code to be read: {reason.strip()}", _PLAIN) from None
        self._proven = True


class _Hashing:
    """A file written in order, whose SHA-256 is known and whose bytes are on the disk when it is closed."""

    def __init__(self, path: Path) -> None:
        self._path, self._sha = path, hashlib.sha256()
        self.error: OSError | None = None

    def __enter__(self) -> None:
        self._file = self._path.open("wb", buffering=0)

    def __exit__(self, *_: object) -> None:
        try:
            os.fsync(self._file.fileno())
        finally:
            self._file.close()

    def write(self, data: Any) -> int:
        self._sha.update(data)
        try:
            view = memoryview(data)
            while view:  # without a buffer a write may take a part only
                view = view[self._file.write(view) :]
        except OSError as error:
            self.error = error
            raise
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    @property
    def digest(self) -> str:
        return self._sha.hexdigest()


class Pace:
    """When the next checkpoint is due: so that saving takes at most 4 % of the time, and the last one makes no 5.

    Args:
        size: bytes of the first checkpoint, to guess what it will cost; later ones are measured.
        share: of the time, for saving.
    """

    def __init__(self, size: int, share: float = 0.04) -> None:
        self._share, self._cost = share, FIRST + size / 100e6
        self._due = time.monotonic() + self._cost / share

    def due(self) -> bool:
        """Whether to save now."""
        return time.monotonic() >= self._due

    def saved(self, seconds: float) -> None:
        """A checkpoint took so long."""
        self._cost = max(seconds, (self._cost + seconds) / 2)
        self._due = time.monotonic() + self._cost / self._share
