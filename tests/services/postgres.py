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
    # Not below a test's own folder: another user must be able to reach it.
    with tempfile.TemporaryDirectory(prefix="airloom-postgres-") as folder, _server(Path(folder)) as address:
        yield address


@contextmanager
def _server(folder: Path) -> Iterator[str]:
    programs, data = binaries(), folder / "data"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    if os.getuid() == 0:
        shutil.chown(folder, USER)
    _run(programs / "initdb", "-D", data, "-A", "trust", "-U", "airloom", "--no-sync")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -k {folder} -c fsync=off"
    _run(programs / "pg_ctl", "-D", data, "-o", options, "-l", folder / "log", "-w", "start")
    try:
        yield f"postgresql+psycopg2://airloom@127.0.0.1:{port}/postgres"
    finally:
        _run(programs / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")


def _run(program: Path, *words: object) -> None:
    command = [str(program), *map(str, words)]
    identity = pwd.getpwnam(USER) if os.getuid() == 0 else None
    demoted = {"user": identity.pw_uid, "group": identity.pw_gid, "extra_groups": []} if identity else {}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/", env={"PATH": os.environ["PATH"]}, **demoted)
