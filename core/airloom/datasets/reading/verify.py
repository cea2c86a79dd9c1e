"""Digests of mapped shards, computed beside the first epoch of a loader, or when a shard is first read otherwise."""

import hashlib
import sys
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from airloom.datasets.reading.mapped import Mapped, damaged

# Two threads hash about 1.5 GB/s, and leave the other cores to the training.
THREADS = 2
# hashlib lets other threads run while it works on a chunk: few, big chunks disturb them least.
CHUNK = 8 << 20


def verify(mapped: Mapped, shard: int) -> None:
    """Compare the MD5 of a mapped shard with its name, through the same memory that is read from.

    Raises:
        CorruptFile: they differ.
    """
    file = mapped.files[shard]
    data = memoryview(mapped.buffer(shard))
    digest = hashlib.md5(usedforsecurity=False)  # DVC's choice of hash
    for start in range(0, len(data), CHUNK):
        digest.update(data[start : start + CHUNK])
    if digest.hexdigest() != file.md5:
        raise damaged(file, f"its MD5 is {digest.hexdigest()}")
    mapped.whole.add(shard)


def verify_once(mapped: Mapped, rows: NDArray[np.int64]) -> None:
    """Verify the shards in which some rows lie, those that were not yet.

    Args:
        mapped: the shards.
        rows: physical numbers of the rows.

    Raises:
        CorruptFile: a shard's MD5 is not its name.
    """
    if len(mapped.whole) < len(mapped.files) and len(rows):
        for shard in np.unique(mapped.bases.searchsorted(rows, "right") - 1).tolist():
            if shard not in mapped.whole:
                verify(mapped, shard)


class Verifier:
    """Verifies shards in threads of its own, from now until they are done or it is stopped.

    Args:
        mapped: the shards.
        left: numbers of the shards to verify; each is taken out once it was found good.
    """

    def __init__(self, mapped: Mapped, left: set[int]) -> None:
        self._mapped, self._left = mapped, left
        self._waiting = iter(sorted(left))
        self._running: deque[tuple[int, Future[None]]] = deque()
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="airloom-verify")
        self._ending = sys.is_finalizing  # kept, as modules may be gone when `stop` is called
        self._submit()

    def check(self, wait: bool = False) -> None:
        """Look at what is done, or wait for all of it.

        Raises:
            CorruptFile: a shard's MD5 is not its name.
        """
        while self._running and (wait or self._running[0][1].done()):
            shard, verified = self._running.popleft()
            verified.result()
            self._left.discard(shard)
            self._submit()

    def stop(self) -> None:
        """End the threads; the shards in work are still finished, which takes a tenth of a second."""
        if not self._ending():
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _submit(self) -> None:
        # Never all: Python does not end before everything is done that was submitted.
        for shard in islice(self._waiting, 2 * THREADS - len(self._running)):
            self._running.append((shard, self._pool.submit(verify, self._mapped, shard)))
