"""Answer the rows of a request, each part once; what an earlier attempt has written is kept."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from airloom.datasets.reading.verify import verify_once
from airloom.datasets.snapshots.snapshot import open_snapshot
from airloom.datasets.storage.rows import VersionRows
from airloom.datasets.storage.store import Store
from airloom.errors import CorruptFile
from airloom.inference.model import CPU, Extras, LoadedModel
from airloom.jobs import context
from airloom.lineage.batches import BatchRecord
from airloom.prediction import planning, rows
from airloom.prediction.folder import Folder
from airloom.prediction.request import Request
from airloom.registry import model_files, models, python_models
from airloom.settings import Settings

if TYPE_CHECKING:
    from airloom.datasets.snapshots.data import SnapshotData

Array = np.ndarray[Any, Any]
CUDA = "CUDAExecutionProvider"
EVERY = 2.0  # seconds between two lines of progress
log = logging.getLogger(__name__)


class Source:
    """The rows that are asked about: their numbers in the version, their inputs, the columns beside the answers."""

    def __init__(self, settings: Settings, request: Request) -> None:
        self._data: SnapshotData = open_snapshot(settings, request.snapshot)
        self._split = self._data.split(request.part)
        self._beside = [
            *([request.key] if request.key and request.key not in request.columns else []),
            *request.columns,
        ]
        live = VersionRows(Store(settings), self._data.manifest).physical
        self.of = len(live)
        self.numbers: Array = np.searchsorted(live, self._split.rows)

    def plan(self) -> list[int]:
        """How many rows each part has."""
        return planning.parts_of(self._split.rows, self._split.mapped.bases)

    def inputs(self, start: int, stop: int) -> Any:
        """The inputs of some of the rows, as the dataset's type gives them."""
        return self._split.arrays(self._split.columns(np.arange(start, stop)))

    def beside(self, start: int, stop: int) -> pa.Table:
        """Key and chosen columns of the same rows."""
        wanted, mapped = self._split.rows[start:stop], self._split.mapped
        verify_once(mapped, wanted)
        parts = []
        for shard, base in enumerate(mapped.bases[:-1].tolist()):
            low, high = np.searchsorted(wanted, mapped.bases[shard : shard + 2])
            if low < high:
                whole = pa.ipc.open_file(mapped.buffer(shard)).read_all().select(self._beside)
                parts.append(whole.take(pa.array(wanted[low:high] - base)))
        schema = pa.schema([self._data.schema.field(name) for name in self._beside])
        return pa.concat_tables(parts).cast(schema).combine_chunks()

    def brought(self) -> dict[str, int]:
        """How many of the rows each commit brought, by the number of the version that it made."""
        spans = [span for shard in self._data.manifest.shards for span in shard.live_spans()]
        places = np.searchsorted(np.cumsum([span.rows for span in spans]), self.numbers, side="right")
        by = np.array([span.version for span in spans], np.int64)[places]
        return {str(number): int(count) for number, count in zip(*np.unique(by, return_counts=True), strict=True)}


def record_of(request: Request, source: Source) -> BatchRecord:
    """What is kept of the batch prediction for lineage."""
    return BatchRecord(
        model=request.model,
        version=request.version,
        dataset=request.dataset,
        content=request.snapshot.version_id,
        split=request.split,
        rows=len(source.numbers),
        of=source.of,
        time=request.time,
        brought=source.brought(),
    )


def answer(settings: Settings, request: Request, folder: Folder, threads: int = 1) -> BatchRecord:
    """Answer the rows whose parts are not on the disk yet.

    Args:
        settings: of this installation.
        request: with its rows chosen.
        folder: which nobody else works on.
        threads: that share the work.

    Raises:
        DataError: the model does not take the rows, or has no answer to one of them.
        SignatureRefused: no key that is trusted here signed the model as it is.
        DataAway: the disk does not take a part; those before stay.
        CorruptFile: a file of the model or of the dataset is damaged.
    """
    source = Source(settings, request)
    plan = folder.plan()
    if plan is None:
        plan = source.plan()
        folder.keep("plan.json", {"parts": plan})
    if sum(plan) != len(source.numbers):
        message = f"{folder.path} was planned for {sum(plan)} rows, {request.dataset} has {len(source.numbers)}"
        raise CorruptFile(message, "remove the folder, and predict again")
    finished, record = folder.finished(), record_of(request, source)
    if finished:
        log.info("%s of %s parts are there already", len(finished), len(plan))
    if len(finished) == len(plan):
        return record
    model, extras = load(settings, request), Extras(scores=request.scores)
    progress = Progress(plan, sum(plan[part] for part in finished))
    with _threads(threads) as pool:
        stop = 0
        for part, count in enumerate(plan):
            start, stop = stop, stop + count
            if part in finished:
                continue
            began, numbers = time.monotonic(), source.numbers[start:stop]
            given = rows.answers(model, source.inputs(start, stop), numbers, request.dataset, extras, pool)
            kind = _kind(folder) if part else rows.type_of(model, given)
            made = rows.table(record, model, kind, numbers, given, source.beside(start, stop))
            folder.add(part, made, time.monotonic() - began)
            progress.add(part)
    return record


def load(settings: Settings, request: Request) -> LoadedModel:
    """The model version, loaded as the server loads it; on a device that the job has leased.

    Raises:
        SignatureRefused: no key that is trusted here signed it as it is.
        CorruptFile: a file is damaged, or it answers otherwise than when it was registered.
    """
    version = models.get_version(settings, request.model, request.version)
    files, digests = model_files.fetch_signed(settings, version, settings.home / "cache" / "models")
    project = python_models.project_of(settings, version)
    name, _, number = request.shown(settings).rpartition("/")
    job = context.current()
    devices = job.devices if job else ()
    if devices and python_models.is_python(version.tags):
        log.warning("a Python model is asked on the CPU: the devices are not used")
        devices = ()

    def load(providers: Sequence[Any]) -> LoadedModel:
        return LoadedModel.load(name, number, files, digests, providers=providers, project=project)

    return _on_devices(devices, load)


def _on_devices(devices: Sequence[str], load: Callable[[Sequence[Any]], LoadedModel]) -> LoadedModel:
    """A model on the first of the leased devices; its golden answers are compared there. Else the CPU, with a warning.

    Args:
        devices: that the job has leased.
        load: with the providers of ONNX Runtime, as `LoadedModel.load`.
    """
    import onnxruntime

    if not devices:
        return load(CPU)
    if CUDA not in onnxruntime.get_available_providers():
        log.warning("ONNX Runtime here knows no CUDA (`pip install onnxruntime-gpu`): the CPU answers")
        return load(CPU)
    preload = getattr(onnxruntime, "preload_dlls", None)  # of torch's packages, where the system has none
    if preload is not None:
        preload()
    # TF32 has 10 bits of a number: the answers would not be those that the gate judged.
    loaded = load([(CUDA, {"use_tf32": "0"}), *CPU])
    if CUDA not in loaded.session.get_providers():
        log.warning("ONNX Runtime could not load CUDA's libraries, its messages say which: the CPU answers")
    return loaded


def _kind(folder: Folder) -> pa.DataType:
    """The type of the predictions, as the first part has it."""
    from pyarrow import parquet

    return parquet.read_schema(folder.file(0)).field("prediction").type


@contextmanager
def _threads(count: int) -> Iterator[Executor | None]:
    if count < 2:
        yield None
        return
    pool = ThreadPoolExecutor(count, thread_name_prefix="airloom-predict")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)  # who is told to stop does not answer the rest of its part


class Progress:
    """Says in the log how far it is."""

    def __init__(self, plan: list[int], done: int) -> None:
        self._plan, self._before, self._done = plan, done, done
        self._began = self._said = time.monotonic()

    def add(self, part: int) -> None:
        """One part more is there."""
        self._done += self._plan[part]
        now = time.monotonic()
        if now - self._said < EVERY and self._done < sum(self._plan):
            return
        self._said, speed = now, (self._done - self._before) / max(now - self._began, 1e-9)
        log.info("%s of %s rows, %s a second", f"{self._done:,}", f"{sum(self._plan):,}", f"{speed:,.0f}")
