"""Start the job's first process, from its supervisor."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from airloom.jobs import environment, files, processes, sandbox
from airloom.jobs.launch_record import Launch
from airloom.jobs.spec import JobSpec

GRACE = 5.0  # seconds between TERM and KILL of a cancelled job
STOP_GRACE = 30.0  # and of one that is stopped at a checkpoint


def start(folder: Path, launch: Launch, lock: int, devices: list[str]) -> "subprocess.Popen[bytes]":
    """Start the process in a session of its own. It inherits the attempt's lock, also as its standard input.

    The standard input passes through programs that close other descriptors, so that the ranks of torchrun hold the
    lock too; reading it gives the end of the file.

    Args:
        folder: of the attempt.
        launch: what to run, and for whom.
        lock: descriptor of the attempt's lock.
        devices: names of the leased devices.

    Raises:
        OSError: it cannot be started.
    """
    spec, resources = launch.spec, launch.spec.resources
    project = Path(launch.project)
    work = Path(spec.folder) if spec.folder else (folder / files.WORK if spec.command else project)
    cpus = _cpus(launch.id, resources.threads * resources.processes)
    writable = [Path(launch.home), Path(tempfile.gettempdir()), Path("/dev"), *([] if work == project else [work])]
    writable += [_existing(Path(further)) for further in spec.writable]

    def prepare() -> None:  # between fork and exec; the supervisor has no other thread yet
        processes.die_with_parent()
        os.sched_setaffinity(0, cpus)
        if launch.confined:
            sandbox.confine(writable)

    with (folder / files.LOG).open("ab") as log:
        return subprocess.Popen(
            command_of(folder, spec),
            stdin=lock,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=work,
            env=_variables(folder, launch, devices) | {"PWD": str(work)},
            start_new_session=True,
            pass_fds=(lock,),
            preexec_fn=prepare,
        )


def command_of(folder: Path, spec: JobSpec) -> list[str]:
    """The words to run: the command itself, or the child that calls the step, under torchrun where it has ranks."""
    if spec.command:
        return list(spec.command)
    python, count = spec.interpreter or sys.executable, spec.resources.processes
    child = ["-m", "airloom.jobs.child", str(folder)]
    if count == 1:
        return [python, "-P", *child]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count), "--max-restarts", "0"]
    return [python, "-P", *torchrun, *child]


def _variables(folder: Path, launch: Launch, devices: list[str]) -> dict[str, str]:
    """What the job has in its environment: what it may see of ours, its limits, its own variables, and who it is."""
    spec = launch.spec
    visible = environment.allowed(os.environ, spec.environment)
    limits = environment.limits(spec.resources.threads, devices)
    identity = {
        "AIRLOOM_JOB_KEY": launch.key,
        "AIRLOOM_JOB_ATTEMPT": str(launch.number),
        processes.MARK: str(folder),
        "AIRLOOM_JOB_STATE": launch.state,
    }
    return {**visible, **limits, **spec.variables, **identity}


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists: a rule cannot name what is not there yet."""
    return next(place for place in (folder, *folder.parents) if place.is_dir())


def _cpus(attempt: int, wanted: int) -> set[int]:
    """Which CPUs a job is bound to; neighbouring attempts get neighbouring ones."""
    cpus = sorted(os.sched_getaffinity(0))
    if wanted >= len(cpus):
        return set(cpus)
    first = attempt * wanted % len(cpus)
    return {cpus[(first + place) % len(cpus)] for place in range(wanted)}
