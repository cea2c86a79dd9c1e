"""The fast path from shards to training: batches in a seeded order, read ahead, resumable anywhere."""

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from airloom.datasets.reading import draws
from airloom.datasets.reading.buffers import Buffers
from airloom.datasets.reading.by_length import ByLength
from airloom.datasets.reading.cursor import Cursor, resumed
from airloom.datasets.reading.form import Form, form_of, lengths
from airloom.datasets.reading.order import Order, Positions, rank_slice
from airloom.datasets.reading.prefetch import in_processes, in_threads
from airloom.datasets.reading.split_data import SplitData
from airloom.datasets.reading.verify import Verifier
from airloom.errors import ConfigError

Transform: TypeAlias = Callable[[Any, Any], Any]


class Loader:
    """Batches `(inputs, labels)` of a split, an epoch for each `iter()`.

    **Order.** Each epoch is a permutation of all rows, from the seed and the epoch's number. It is cut into global
    batches of `batch_size` rows, and each rank gets its slice of each, so the global batches are the same at any
    number of ranks. Rows within a slice are sorted. Without `drop_last` the last global batch is smaller and ranks may
    get a row more or less of it; where it has fewer rows than there are ranks, some ranks get an empty batch, so that
    all ranks make the same number of steps.

    **Validity.** What is yielded stays valid as long as it is held, with `views` also the memoryviews. Memory that
    nobody holds any more is used again. With `reuse`, the memory of a batch may be used again as soon as the next
    batch is asked for, held or not.

    **Epochs.** The first `iter()` begins where `load_state_dict` or `set_epoch` say, else with epoch 0; each further
    one begins the next epoch, also when the one before was left early.

    **Verification.** In the first epoch threads hash the mapped shards; the epoch ends only when all are verified.

    Args:
        data: the split.
        batch_size: rows of a global batch, all ranks together.
        snapshot: id of the snapshot; a saved state of another one is refused.
        seed: of the order, at least 0; a loaded state brings its own.
        shuffle: False: rows in their order.
        rank: this process among `world_size`.
        world_size: number of processes that share each batch.
        drop_last: leave out the last, smaller batch.
        prefetch: batches that may be read ahead, as soon as the consumer spends time of its own; 0: no thread.
        threads: threads that read ahead; more than one pays only for a slow `transform` that releases the GIL.
        transform: called with (inputs, labels) of each batch, in any thread or process; what it returns is yielded.
        processes: worker processes instead of threads; pays where `transform` costs more than passing its result on.
        reuse: see above.
        views: binary columns as memoryviews into the mapped shards, not as copied bytes; each epoch yields the same
            ones, so do not `release()` them.
        verify: see above.
        order: the order of the rows in place of `Order(len(data), shuffle)`, such as one with smaller windows.
        pad: by column of lists of numbers, what fills each list up to the longest of this rank's part of the batch. An
            input gets a mask beside it, `<column>_mask`: int64, 1 where the row has a value. An empty list and a
            missing one have a mask of 0 throughout.
        by_length: have batches of rows whose padded lists are of like length; see `ByLength`. A state goes with the
            batch size then.
        seconds: times and decimals as float64, NaN for an empty cell; times in seconds since 1970 (UTC) or midnight.

    Attributes:
        batch_size: as given.
        rows: of a whole epoch.

    Raises:
        ConfigError: an argument is out of range.
    """

    def __init__(
        self,
        data: SplitData,
        batch_size: int,
        *,
        snapshot: str,
        seed: int = 0,
        shuffle: bool = True,
        rank: int = 0,
        world_size: int = 1,
        drop_last: bool = False,
        prefetch: int = 16,
        threads: int = 1,
        transform: Transform | None = None,
        processes: int = 0,
        reuse: bool = False,
        views: bool = False,
        verify: bool = True,
        order: Order | None = None,
        pad: Mapping[str, int | float] | None = None,
        by_length: bool = False,
        seconds: bool = False,
    ) -> None:
        for name, value in (("seed", seed), ("rank", rank), ("prefetch", prefetch), ("processes", processes)):
            _at_least(name, value, 0)
        for name, value, least in (("threads", threads, 1), ("world_size", world_size, rank + 1)):
            _at_least(name, value, least)
        _at_least("batch_size", batch_size, world_size)  # a row for each rank
        if processes and views:
            raise ConfigError("views=True does not go with processes", "views cannot leave the process: use threads")
        self._data, self._drop_last = data, drop_last
        self.batch_size, self.rows = batch_size, len(data) - len(data) % batch_size * drop_last
        self._rank, self._world_size = rank, world_size
        self._prefetch, self._threads, self._processes = prefetch, threads, processes
        self._reuse, self._views, self._transform = reuse, views, transform
        runs = np.diff(data.rows.searchsorted(data.mapped.bases))
        rows = order or Order(len(data), shuffle)
        if rows.rows != len(data):
            raise ConfigError(f"an order of {rows.rows} rows for {len(data)} rows", "pass Order(len(data))")
        layout, schema = data.layout, data.mapped.schema
        self._form = form_of(pad or {}, schema, layout.inputs(schema), layout.label, seconds)
        self._order: Order | ByLength = self._by_length(rows) if by_length else rows
        self._unverified = set(np.flatnonzero(runs).tolist() if verify else [])
        self._move(Cursor(snapshot, seed, order=self._order.name))

    def __len__(self) -> int:
        """Batches of a whole epoch."""
        return len(self._data) // self.batch_size if self._drop_last else -(-len(self._data) // self.batch_size)

    def state_dict(self) -> dict[str, Any]:
        """Where the newest yielded batch ends: JSON, below 1 KB, the same on all ranks."""
        return replace(self._start, position=self._position).state()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Begin the next `iter()` where a saved state ends; the batches that remain are the same at any world size.

        Raises:
            ConfigError: the state is of another snapshot or order, or no state.
        """
        self._move(resumed(state, self._start.snapshot, len(self._data), self._order.name))

    def set_epoch(self, epoch: int) -> None:
        """Begin the next `iter()` with this epoch; in the epoch of a state just loaded, where the state ends.

        Raises:
            ConfigError: `epoch` is below 0.
        """
        _at_least("epoch", epoch, 0)
        if not (self._fresh and epoch == self._start.epoch):
            self._move(replace(self._start, epoch=epoch, position=0))

    def __iter__(self) -> Iterator[Any]:
        if not self._fresh and self._position:
            self._move(replace(self._start, epoch=self._start.epoch + 1, position=0))
        return self._epoch(self._start)

    def _by_length(self, order: Order) -> ByLength:
        if not self._form.pad:
            raise ConfigError("by_length needs to know of which lists", "name them: pad={'input_ids': 0}")
        names, data = list(self._form.pad), self._data
        return ByLength(order, self.batch_size, lambda: lengths(data.mapped, data.rows, names))

    def _move(self, cursor: Cursor) -> None:
        self._start = cursor  # of the epoch, or of the part of it that is left
        self._position = cursor.position  # where the newest batch ends; apart, as a new cursor a batch costs as much
        self._fresh = True  # nothing was yielded since then

    def _epoch(self, start: Cursor) -> Iterator[Any]:
        batches = self._batches(start)
        verifier: Verifier | None = None
        try:
            for stop in self._stops(start.position):
                # Popped while it is yielded: nothing here holds a batch that the consumer has let go of.
                batch = [next(batches)]
                if verifier:
                    verifier.check()
                self._start, self._position, self._fresh = start, stop, False
                yield batch.pop()
                if self._unverified and not verifier:  # after the first batch, which its threads would delay
                    verifier = Verifier(self._data.mapped, self._unverified)
            if verifier:
                verifier.check(wait=True)
            self._start, self._position = replace(start, epoch=start.epoch + 1, position=0), 0
        finally:
            batches.close()
            if verifier:
                verifier.stop()

    def _stops(self, start: int) -> Iterator[int]:
        """Where each global batch ends."""
        rows = len(self._data)
        yield from range(start + self.batch_size, rows + 1, self.batch_size)
        if (rows - start) % self.batch_size and not self._drop_last:
            yield rows

    def _jobs(self, start: Cursor) -> Iterator[Positions]:
        begin = start.position
        for stop in self._stops(begin):
            batch = self._order.positions(start.seed, start.epoch, begin, stop)
            yield rank_slice(batch, self._rank, self._world_size)
            begin = stop

    def _batches(self, start: Cursor) -> Generator[Any, None, None]:
        if self._processes:
            self._data.ready()
            read = partial(_read, self._data, Buffers(), False, self._form, self._transform, start.seed, start.epoch)
            return in_processes(self._jobs(start), read, self._processes, start.seed + start.epoch)
        # As many as can wait, be in work and be held by the consumer at once.
        buffers = Buffers(2 * self._prefetch + 2, self._reuse)
        read = partial(_read, self._data, buffers, self._views, self._form, self._transform, start.seed, start.epoch)
        return in_threads(self._jobs(start), read, self._prefetch, self._threads)


def _read(
    data: SplitData,
    buffers: Buffers,
    views: bool,
    form: Form,
    transform: Transform | None,
    seed: int,
    epoch: int,
    positions: Positions,
) -> Any:
    draws.at(draws.Place(seed, epoch, positions))
    inputs, labels = data.batch(positions, buffers, views, form)
    return (inputs, labels) if transform is None else transform(inputs, labels)


def _at_least(name: str, value: int, least: int) -> None:
    if type(value) is not int or value < least:
        raise ConfigError(f"{name} is {value!r}", f"pass an integer from {least} up")
