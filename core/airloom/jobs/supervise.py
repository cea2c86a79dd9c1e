"""The supervisor of one attempt: `python -m airloom.jobs.supervise FOLDER LOCK`.

It waits for devices, starts the job, beats, enforces limits, ends it when asked, and writes how it ended. The job
starts before anything heavy is imported, so that a start costs little.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from airloom.jobs import devices, files, launch, processes
from airloom.jobs.limits import Limits, Usage, cut_log

BEAT = 2.0  # seconds between heartbeats
LOOK = 0.5  # between looks at the table for a wish to end
STEP = 0.05


def main(arguments: list[str]) -> int:
    """Supervise the attempt in FOLDER; LOCK is the inherited descriptor of its lock."""
    folder, lock = Path(arguments[0]), int(arguments[1])
    os.set_inheritable(lock, False)
    values = files.read(folder / files.LAUNCH) or {}
    processes.adopt_orphans()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the submitter's affair
    return Supervisor(folder, lock, values).run()


class Supervisor:
    """State of one attempt while it is alive."""

    def __init__(self, folder: Path, lock: int, values: dict[str, Any]) -> None:
        self.folder, self.lock, self.values = folder, lock, values
        self.job: subprocess.Popen[bytes] | None = None
        self.usage = Usage()
        self.leased: list[str] = []
        self.terminated = False
        signal.signal(signal.SIGTERM, self._on_term)

    def _on_term(self, *_: object) -> None:
        self.terminated = True

    def run(self) -> int:
        """Run it to its end; 0 when that is on record."""
        wanted = self.values["spec"]["resources"]["devices"]
        try:
            if not wanted:  # the quick path: the table is told when the job already works
                self._start()
            self._open_table()
            if wanted and not self._wait_for_devices(wanted):
                return 0
            state, reason = self._watch() if self.job else ("FAILED", "it was not started")
        except (OSError, subprocess.SubprocessError) as error:
            self._open_table()
            state, reason = "FAILED", f"it cannot be started: {error}"
        self._end_all()
        return 0 if self._finish(state, reason) else 1

    def _open_table(self) -> None:
        from airloom.jobs.table import Attempts

        self.table = Attempts(os.environ["AIRLOOM_DATABASE"])

    def _change(self, **values: Any) -> bool:
        return self.table.change(self.values["id"], claim=self.values["token"], **values)

    def _start(self) -> None:
        self.began, self.started = time.monotonic(), time.time()
        self.job = launch.start(self.folder, self.values, self.lock, self.leased)

    def _wait_for_devices(self, wanted: int) -> bool:
        """Queue up and start with the lease; False when the attempt ended while it waited."""
        home, attempt = Path(self.values["home"]), self.values["id"]
        names = devices.discover(self.values["pretended"])
        self._change(owner=os.getpid(), heartbeat=time.time())
        me = {"id": attempt, "key": self.values["key"], "number": self.values["number"], "folder": str(self.folder)}
        beaten = time.monotonic()
        while True:
            now = self.table.get(attempt)
            if now.cancel or now.stop or self.terminated:
                reason = now.cancel or now.stop or "its supervisor was told to end"
                self._finish("CANCELLED" if now.cancel else "LOST", reason)
                return False
            try:
                if devices.first_in_line(self._queue(), attempt, lambda other: files.is_locked(other.path)):
                    self.leased = devices.lease(home, names, wanted, me)
            except Exception as error:  # fewer devices than it wants: it would wait for ever
                self._finish("FAILED", str(error))
                return False
            if self.leased:
                self._change(devices=",".join(self.leased), state="LAUNCHING")
                self._start()
                return True
            if time.monotonic() - beaten > BEAT:
                beaten = time.monotonic()
                self._change(heartbeat=time.time())
            time.sleep(0.1)

    def _queue(self) -> list[Any]:
        return [a for a in self.table.alive() if a.state == "QUEUED" and a.wanted and a.host == self.values["host"]]

    def _watch(self) -> tuple[str, str]:
        """Wait for the job's end; how it ended, and why."""
        job = self._running()
        if not self._change(
            state="RUNNING", owner=os.getpid(), pid=job.pid, started=self.started, heartbeat=time.time()
        ):
            return "CANCELLED", "another supervisor has this attempt"
        resources = self.values["spec"]["resources"]
        limits = Limits(resources["memory"], resources["time"], self.began)
        beaten = looked = time.monotonic()
        while job.poll() is None:
            now = time.monotonic()
            broken = ""
            if now - looked > LOOK:
                looked = now
                broken = limits.broken(self.usage.measure(processes.descendants()))
                cut_log(self.folder)
                wish = self._wish()
                if wish:
                    return wish
            if broken:
                self._terminate(launch.STOP_GRACE if broken.startswith("wall") else launch.GRACE)
                return "FAILED", broken
            if now - beaten > BEAT:
                beaten = now
                self._beat()
            time.sleep(STEP)
        return self._outcome(job.returncode)

    def _wish(self) -> "tuple[str, str] | None":
        """Do what the table, or a signal, asks for: end for good, or stop at a checkpoint."""
        now = self.table.get(self.values["id"])
        if now.token != self.values["token"] or not now.alive:
            self._terminate(0)
            return "CANCELLED", "another supervisor has this attempt"
        if now.cancel:
            self._terminate(launch.GRACE)
            return "CANCELLED", now.cancel
        if now.stop or self.terminated:
            self._terminate(launch.STOP_GRACE)
            result = files.read(self.folder / files.RESULT)
            if result and result["ok"]:
                return "SUCCEEDED", ""
            return "LOST", now.stop or "its supervisor was told to end"
        return None

    def _beat(self) -> None:
        used = {"cpu_seconds": self.usage.cpu_seconds, "peak_memory": self.usage.peak_memory}
        self._change(heartbeat=time.time(), device_seconds=self._device_seconds(), **used)

    def _device_seconds(self) -> float:
        return len(self.leased) * (time.time() - self.started)

    def _outcome(self, code: int) -> tuple[str, str]:
        """What the exit code and the result file say."""
        result = files.read(self.folder / files.RESULT)
        if result is not None:
            if result["ok"]:
                return "SUCCEEDED", ""
            return ("LOST" if result.get("stopped") else "FAILED"), result["error"]
        if self.values["spec"]["command"] and code == 0:
            return "SUCCEEDED", ""
        if failed := self._first_rank_to_fail():
            return "FAILED", f"rank {failed['rank']} failed: {failed['error']}"
        if code < 0:
            hint = " (often: out of memory)" if -code == signal.SIGKILL else ""
            return "FAILED", f"it was killed by {signal.Signals(-code).name}{hint}"
        return "FAILED", f"it ended with exit code {code}{'' if self.values['spec']['command'] else ' and no result'}"

    def _first_rank_to_fail(self) -> "dict[str, Any] | None":
        """What the ranks wrote down, where rank 0 had no time left to say it."""
        errors = [files.read(path) or {} for path in self.folder.glob("error-rank*.json")]
        return min((e for e in errors if e and not e["stopped"]), key=lambda e: float(e["time"]), default=None)

    def _terminate(self, grace: float) -> None:
        """TERM to the job's group, and KILL for what is left after the grace period."""
        job = self._running()
        if grace:
            processes.end([job.pid, *processes.descendants()], signal.SIGTERM)
            until = time.monotonic() + grace
            beaten = time.monotonic()
            while job.poll() is None and time.monotonic() < until:
                time.sleep(STEP)
                if time.monotonic() - beaten > BEAT:
                    beaten = time.monotonic()
                    self._beat()
        self._end_all()

    def _end_all(self) -> None:
        """Kill whatever the job left: it adopted its orphans, so all of them hang below this process."""
        until = time.monotonic() + 10
        while (left := processes.descendants()) and time.monotonic() < until:
            processes.end(left, signal.SIGKILL)
            if self.job:
                self.job.poll()
            self._reap()
            time.sleep(0.02)

    def _reap(self) -> None:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass

    def _finish(self, state: str, reason: str) -> bool:
        used = {"cpu_seconds": self.usage.cpu_seconds, "peak_memory": self.usage.peak_memory}
        if self.job:
            used["device_seconds"] = self._device_seconds()
        return self._change(state=state, reason=reason[:4000], ended=time.time(), heartbeat=time.time(), **used)

    def _running(self) -> "subprocess.Popen[bytes]":
        assert self.job is not None  # noqa: S101 - only called after _start
        return self.job


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
