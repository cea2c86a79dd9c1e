"""MLflow's SQLite store: first clients that come at once."""

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor

from airloom.tracking import store


def test_first_clients_at_once_make_it_once_and_none_sees_half_of_it(tmp_path, monkeypatch):
    """The tables are made while the others wait for the lock; the file has its name only when they are whole."""
    file, made, begun = tmp_path / "mlflow" / "mlflow.db", [], threading.Barrier(3)

    def make(temporary, artifacts):
        made.append(artifacts)
        assert not file.exists()
        with sqlite3.connect(temporary) as connection:
            connection.execute("CREATE TABLE experiments (id)")
        connection.close()

    def client():
        begun.wait()
        store.ensure(f"sqlite:///{file}", "file:///a")
        return file.stat().st_size > 0

    monkeypatch.setattr(store, "_make", make)
    with ThreadPoolExecutor(3) as pool:
        assert all(future.result() for future in [pool.submit(client) for _ in range(3)])
    assert made == ["file:///a"]
    assert sorted(path.name for path in file.parent.iterdir()) in (["create.lock", "mlflow.db"], ["mlflow.db"])


def test_one_that_was_killed_while_it_made_them_leaves_nothing_in_the_way(tmp_path, monkeypatch):
    file = tmp_path / "mlflow.db"

    def killed(temporary, artifacts):
        temporary.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "_make", killed)
    try:
        store.ensure(f"sqlite:///{file}", "")
    except KeyboardInterrupt:
        assert not file.exists()
    monkeypatch.undo()
    file.touch()  # SQLite makes an empty file before it writes the first page
    monkeypatch.setattr(store, "_make", lambda temporary, _: temporary.write_bytes(store.sqlite3.__name__.encode()))
    store.ensure(f"sqlite:///{file}", "")
    assert file.stat().st_size > 0
