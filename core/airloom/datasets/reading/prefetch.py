"""Work that is done ahead of the consumer: in threads by default, in processes only when asked for."""

import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeVar

Job = TypeVar("Job")
Done = tuple[list[Any], Exception | None, float]

# Jobs go to the threads in groups of about this time: to wake a thread costs as much as to gather a small batch.
GROUP_S = 0.002
# Reading ahead saves no more than the consumer's own time. Where that is a smaller part of the reading than the first
# number, reading stays in the consumer's thread, with its warm caches; below the second it goes back there.
WORTH_IT, NOT_WORTH_IT = 0.5, 0.25


def in_threads(jobs: Iterable[Job], work: Callable[[Job], Any], ahead: int, threads: int) -> Generator[Any, None, None]:
    """Results of the jobs, in their order, made ahead while the consumer is busy with something else.

    Closing or dropping the iterator ends the threads.

    Args:
        jobs: read in the consumer's thread.
        work: called in any thread; what it raises is raised here, after the results before it.
        ahead: results that may be waiting, as many as take some milliseconds to make; 0: no thread at all.
        threads: how many; with more than one they are always used.
    """
    jobs = iter(jobs)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="airloom-prefetch")  # starts no thread yet
    ending = sys.is_finalizing  # kept, as modules may be gone when the generator is
    try:
        while True:
            if (threads == 1 or not ahead) and not (yield from _in_line(jobs, work, ahead > 0)):
                return
            if not (yield from _ahead(jobs, work, ahead, threads, pool)):
                return
    finally:
        # Without waiting: a generator may be dropped anywhere, also by a collection within one of these threads.
        if not ending():
            pool.shutdown(wait=False, cancel_futures=True)


def _in_line(jobs: Iterator[Job], work: Callable[[Job], Any], may_leave: bool) -> Generator[Any, None, bool]:
    """Work in the consumer's thread; True when the consumer turned out to be busy, False after the last job."""
    worked = away = 0.0
    for job in jobs:
        begin = time.perf_counter()
        result = [work(job)]
        done = time.perf_counter()
        yield result.pop()  # nothing here holds a result while it is away: its memory can be used again
        worked, away = worked + done - begin, away + time.perf_counter() - done
        if worked + away > GROUP_S:
            if may_leave and away > WORTH_IT * worked:
                return True
            worked = away = 0.0
    return False


def _ahead(
    jobs: Iterator[Job], work: Callable[[Job], Any], ahead: int, threads: int, pool: ThreadPoolExecutor
) -> Generator[Any, None, bool]:
    """Work in the pool; True when the consumer only waits for it, False after the last job."""
    groups = min(threads + 1, ahead)
    size, idle = 1, False
    waiting: deque[Future[Done]] = deque()
    while True:
        while not idle and len(waiting) < groups and (group := list(islice(jobs, size))):
            waiting.append(pool.submit(_group, group, work))
        if not waiting:
            return idle
        results, error, seconds = waiting.popleft().result()
        if seconds < GROUP_S / 2:
            size = min(2 * size, ahead // groups)
        elif seconds > GROUP_S:
            size = max(1, size // 2)
        results.reverse()
        begin = time.perf_counter()
        while results:
            yield results.pop()
        if error is not None:
            raise error
        idle = idle or (threads == 1 and time.perf_counter() - begin < NOT_WORTH_IT * seconds)


def _group(jobs: list[Job], work: Callable[[Job], Any]) -> Done:
    results: list[Any] = []
    begin = time.perf_counter()
    try:
        for job in jobs:
            results.append(work(job))
    except Exception as error:
        return results, error, 0.0
    return results, None, time.perf_counter() - begin


def in_processes(
    jobs: Iterable[Job], work: Callable[[Job], Any], processes: int, seed: int
) -> Generator[Any, None, None]:
    """The same in worker processes of torch's own DataLoader; pays only where the work costs more than the transfer.

    Args:
        jobs: read in this process.
        work: must go through pickle where processes are spawned, not forked.
        processes: how many.
        seed: of the workers' random numbers; torch would else draw one from the training's generator.
    """
    import torch
    from torch.utils.data import DataLoader

    loader: Any = DataLoader(
        _Mapping(work),  # type: ignore[arg-type]  # torch asks for these methods only
        sampler=jobs,
        batch_size=None,
        num_workers=processes,
        collate_fn=_unchanged,
        generator=torch.Generator().manual_seed(seed),
    )
    yield from loader


class _Mapping:
    """`work` in the form of a map-style dataset whose keys are the jobs."""

    def __init__(self, work: Callable[[Any], Any]) -> None:
        self._work = work

    def __getitem__(self, job: Any) -> Any:
        return self._work(job)


def _unchanged(batch: Any) -> Any:
    return batch
