"""The supervisor of one attempt: `python -m airloom.jobs.supervise FOLDER LOCK`.

It waits for devices, starts the job, beats, enforces limits, ends it when asked, and writes how it ended. The job
starts before anything heavy is imported, so that a start costs little. While the table does not answer, it goes on.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from airloom.errors import AirloomError, ConfigError, CorruptFile, JobsAway
from airloom.jobs import devices, ending, files, launch, processes
from airloom.jobs.launch_record import Launch, read_launch
from airloom.jobs.limits import Limits, Usage, cut_log
from airloom.jobs.results import Failure, JobResult, read_result, write_result
from airloom.jobs.states import CANCELLED, FAILED, LAUNCHING, LOST, QUEUED, RUNNING, SUCCEEDED

if TYPE_CHECKING:
    from airloom.jobs.states import Attempt
    from airloom.jobs.table import Attempts

T = TypeVar("T")
BEAT = 2.0  # seconds between heartbeats
LOOK = 0.5  # between looks at the table for a wish to end, and at the memory where it has a limit
STEP = 0.05
QUEUE = 0.1  # between looks at the queue, times the place in it
PATIENCE = 2.0  # seconds that a locked table may hold up the watching
INSISTING = 600.0  # seconds to try and write down how it ended
FENCED = "another supervisor has this attempt"


def main(arguments: list[str]) -> int:
    """Supervise the attempt in FOLDER; LOCK is the inherited descriptor of its lock."""
    folder, lock = Path(arguments[0]), int(arguments[1])
    os.set_inheritable(lock, False)
    try:
        record = read_launch(folder)
    except (ConfigError, CorruptFile) as error:
        return _refuse(folder, error)
    processes.adopt_orphans()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the submitter's affair
    return Supervisor(folder, lock, record).run()


def _refuse(folder: Path, error: AirloomError) -> int:
    """Record that the attempt FAILED: another airloom submitted it, and its step may stand elsewhere in this one.

    Where the launch record is damaged nobody knows its claim: the result says why, and who looks finds it LOST.
    """
    from airloom.jobs.table import Attempts

    write_result(folder, JobResult(ok=False, failure=Failure.of(error)))
    values = {} if isinstance(error, CorruptFile) else files.read(folder / files.LAUNCH) or {}
    if "id" in values and "token" in values:
        table, identity, claim = Attempts(os.environ["AIRLOOM_DATABASE"]), values["id"], values["token"]
        table.change(identity, claim=claim, state=FAILED, reason=error.message, ended=time.time())
    return 1


class Supervisor:
    """State of one attempt while it is alive.

    Args:
        folder: of the attempt.
        lock: descriptor of its lock.
        record: what to run.
    """

    def __init__(self, folder: Path, lock: int, record: Launch) -> None:
        self.folder, self.lock, self.record = folder, lock, record
        self.resources, self.is_command = record.spec.resources, bool(record.spec.command)
        self.job: subprocess.Popen[bytes] | None = None
        self.usage = Usage()
        self.leased: list[str] = []
        self.terminated = False
        self._opened: Attempts | None = None
        self.away = False  # the table, when it was asked last
        signal.signal(signal.SIGTERM, self._on_term)

    def _on_term(self, *_: object) -> None:
        self.terminated = True

    def run(self) -> int:
        """Run the job to its end; 0 when that is on record."""
        try:
            if not self.resources.devices:  # the quick path: the table is told when the job already works
                self._start()
                state, reason = self._watch()
            else:
                state, reason = self._wait_for_devices() or self._watch()
        except (OSError, subprocess.SubprocessError) as error:
            state, reason = FAILED, f"it cannot be started: {error}"
        ending.end_descendants(self.job)
        self.usage.ended()
        return 0 if self._finish(state, reason) else 1

    # -- the table

    def _table(self) -> "Attempts":
        from airloom.jobs.table import Attempts

        self._opened = self._opened or Attempts(os.environ["AIRLOOM_DATABASE"], PATIENCE)
        return self._opened

    def _ask(self, question: "Callable[[Attempts], T]", otherwise: T) -> T:
        """An answer of the table; `otherwise` while it gives none, which is printed once."""
        try:
            answer = question(self._table())
        except JobsAway as error:
            if not self.away:
                print(time.strftime("%H:%M:%S"), error.message, flush=True)
            self.away = True
            return otherwise
        self.away = False
        return answer

    def _change(self, **values: Any) -> bool:
        """Write, unless another supervisor has the attempt; a table that does not answer is written to later."""
        identity, claim = self.record.id, self.record.token
        return self._ask(lambda table: table.change(identity, claim=claim, **values), True)

    def _beat(self) -> bool:
        """Record that it runs, and what it used; False where another supervisor has the attempt."""
        job = self._running()
        return self._change(
            state=RUNNING, owner=os.getpid(), pid=job.pid, started=self.started, heartbeat=time.time(), **self._used()
        )

    def _used(self) -> dict[str, Any]:
        used = {"cpu_seconds": self.usage.cpu_seconds, "peak_memory": self.usage.peak_memory}
        if self.job:
            used["device_seconds"] = len(self.leased) * (time.monotonic() - self.began)
        return used

    def _finish(self, state: str, reason: str) -> bool:
        """Write down how it ended. The lock is held meanwhile, so nobody takes the attempt for lost."""
        identity, claim = self.record.id, self.record.token
        values = {"state": state, "reason": reason[:4000], "ended": time.time(), **self._used()}
        until = time.monotonic() + INSISTING
        while time.monotonic() < until:
            done = self._ask(lambda table: table.change(identity, claim=claim, heartbeat=time.time(), **values), None)
            if done is not None:
                return done
            time.sleep(1)
        return False

    # -- before it runs

    def _start(self) -> None:
        self.began, self.started = time.monotonic(), time.time()
        self.job = launch.start(self.folder, self.record, self.lock, self.leased)

    def _wait_for_devices(self) -> "tuple[str, str] | None":
        """Queue up and start with the lease; how it ended, where it did while it waited."""
        names, beaten = devices.discover(self.record.pretended), -BEAT
        while True:
            if time.monotonic() - beaten > BEAT:
                beaten = time.monotonic()
                if not self._change(owner=os.getpid(), heartbeat=time.time()):
                    return CANCELLED, FENCED
            queue = self._ask(lambda table: table.alive(), list["Attempt"]())
            me = next((attempt for attempt in queue if attempt.id == self.record.id), None)
            if self.terminated or (me and (me.cancel or me.stop)):
                return self._unstarted(me)
            place = self._place(queue) if me else 1  # without an answer nobody starts
            try:
                self.leased = self._lease(names) if me and place == 0 else []
            except (ConfigError, CorruptFile) as error:  # too few devices, a damaged lease: it would wait for ever
                return FAILED, str(error)
            if self.leased:
                self._change(devices=",".join(self.leased), state=LAUNCHING)
                self._start()
                return None
            time.sleep(min(2.0, QUEUE * (place + 1)))

    def _unstarted(self, me: "Attempt | None") -> tuple[str, str]:
        if me and me.cancel:
            return CANCELLED, me.cancel
        return LOST, (me.stop if me else "") or "its supervisor was told to end"

    def _place(self, queue: "list[Attempt]") -> int:
        """How many earlier attempts of this state folder wait for devices; a dead one waits no more."""
        home, own = Path(self.record.home), self.record.id
        here = [a for a in queue if a.host == self.record.host and a.path.is_relative_to(home)]
        earlier = [a for a in here if a.state == QUEUED and a.wanted and a.id < own]
        return sum(files.is_locked(attempt.path) for attempt in earlier)

    def _lease(self, names: list[str]) -> list[str]:
        holder = devices.Lease(self.record.id, self.record.key, self.record.number, str(self.folder))
        return devices.lease(Path(self.record.home), names, self.resources.devices, holder)

    # -- while it runs

    def _watch(self) -> tuple[str, str]:
        """Wait for the job's end; how it ended, and why."""
        job = self._running()
        limits = Limits(self.resources.memory, self.resources.time, self.began)
        beaten, looked, measured, memory = 0.0, time.monotonic(), 0.0, 0
        while True:
            now = time.monotonic()
            if now - beaten > BEAT:  # also where the job ended already
                beaten = now
                if not self._beat():
                    return CANCELLED, FENCED
            if job.poll() is not None:
                break
            if now - looked > LOOK:
                looked = now
                if limits.memory or now - measured > BEAT:  # to measure costs more than all else here
                    measured, memory = now, self.usage.measure(processes.descendants())
                broken = limits.broken(memory)
                ending.reap(job)
                cut_log(self.folder)
                if broken:  # what eats the memory is not given time to eat more
                    self._terminate(launch.STOP_GRACE if broken.startswith("wall") else 0)
                    return FAILED, broken
                if wish := self._wish():
                    return wish
            time.sleep(STEP)
        cut_log(self.folder)
        return ending.outcome(self.folder, job.returncode, is_command=self.is_command)

    def _wish(self) -> "tuple[str, str] | None":
        """Do what the table, or a signal, asks for: end for good, or stop at a checkpoint."""
        now = self._ask(lambda table: table.get(self.record.id), None)
        if now and (now.token != self.record.token or not now.alive):
            return CANCELLED, FENCED
        if now and now.cancel:
            self._terminate(launch.GRACE)
            return CANCELLED, now.cancel
        if self.terminated or (now and now.stop):
            self._terminate(launch.STOP_GRACE)
            result = read_result(self.folder)
            if result and result.ok:
                return SUCCEEDED, ""
            return LOST, (now.stop if now else "") or "its supervisor was told to end"
        return None

    def _terminate(self, grace: float) -> None:
        """TERM, and time to end; what is left then is killed."""
        job = self._running()
        ending.ask_to_end(job, everybody=self.is_command)
        until = time.monotonic() + grace
        beaten = time.monotonic()
        while job.poll() is None and time.monotonic() < until:
            time.sleep(STEP)
            if time.monotonic() - beaten > BEAT:
                beaten = time.monotonic()
                self._beat()

    def _running(self) -> "subprocess.Popen[bytes]":
        assert self.job is not None  # noqa: S101 - only called after _start
        return self.job


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
