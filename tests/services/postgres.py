"""A PostgreSQL server of a test's own: its own data folder and socket, on a free port of the loopback."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

USER = "nobody"  # PostgreSQL refuses to run as root


def binaries() -> Path:
    """Where the newest installed server's programs are."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    if found:
        return found[-1].parent
    if on_path:
        return Path(on_path).parent
    raise RuntimeError("PostgreSQL is not installed: apt-get install postgresql")


@contextmanager
def postgres() -> Iterator[str]:
    """The SQLAlchemy address of an empty database; the server and its data end with the block."""
    with server() as found:
        yield found.address


@contextmanager
def server() -> Iterator["Server"]:
    """The same, for a test that stops the server and starts it again."""
    # Not below a test's own folder: another user must be able to reach it.
    with tempfile.TemporaryDirectory(prefix="airloom-postgres-") as folder:
        if os.getuid() == 0:
            shutil.chown(folder, USER)
        made = Server(Path(folder))
        made.start()
        try:
            yield made
        finally:
            made.stop()


class Server:
    """A server that is not started yet.

    Attributes:
        address: of its database, for SQLAlchemy.
    """

    def __init__(self, folder: Path) -> None:
        self._programs, self._folder, self._data = binaries(), folder, folder / "data"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.address = f"postgresql+psycopg2://airloom@127.0.0.1:{self._port}/postgres"
        _run(self._programs / "initdb", "-D", self._data, "-A", "trust", "-U", "airloom", "--no-sync")

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = f"-p {self._port} -c listen_addresses=127.0.0.1 -k {self._folder} -c fsync=off"
        self._control("-o", options, "-l", self._folder / "log", "-w", "start")

    def stop(self) -> None:
        """Stop it at once, as a crash does, where it runs."""
        if (self._data / "postmaster.pid").exists():
            self._control("-m", "immediate", "-w", "stop")

    def _control(self, *words: object) -> None:
        _run(self._programs / "pg_ctl", "-D", self._data, *words)


def _run(program: Path, *words: object) -> None:
    command = [str(program), *map(str, words)]
    identity = pwd.getpwnam(USER) if os.getuid() == 0 else None
    demoted = {"user": identity.pw_uid, "group": identity.pw_gid, "extra_groups": []} if identity else {}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/", env={"PATH": os.environ["PATH"]}, **demoted)
