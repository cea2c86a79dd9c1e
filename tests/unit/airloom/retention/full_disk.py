"""Run by test_full_disk.py: `full_disk.py FOLDER MLFLOW.DB` fills a file system of its own, and collects on it."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from airloom.jobs import files
from airloom.jobs.states import SUCCEEDED
from airloom.jobs.table import Attempts
from airloom.retention.collect import collect, plan
from airloom.retention.items import Rules
from airloom.settings import Settings

disk, store = map(Path, sys.argv[1:])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "none", str(disk)], check=True)
settings = Settings(home=disk / "home", project=disk, tracking_uri="")
(settings.make_home() / "mlflow").mkdir()
shutil.copy(store, settings.home / "mlflow" / "mlflow.db")

# The table is written to by another process, whose end takes the file along that SQLite's readers share.
if not (pid := os.fork()):
    folder = files.make_attempt(settings.home, "k", 1)
    files.write(folder / files.RESULT, {"ok": True, "value": {"x": "y" * 100_000}})
    row = {"key": "k", "number": 1, "folder": str(folder), "name": "m:f", "task": {}, "state": SUCCEEDED}
    table = Attempts(settings.database_address)
    table.add(row)
    table._engine.dispose()
    os._exit(0)
os.waitpid(pid, 0)

with (disk / "filler").open("wb", buffering=0) as file:
    try:
        while True:
            file.write(bytes(4096))
    except OSError:
        print("full")
rules = Rules(time.time() + 60, 1, 1)
print("planned:", *(item.kind for item in plan(settings, rules) if item.goes))
print("removed:", *(item.kind for item in collect(settings, rules, print) if item.goes))
print("folder is gone:", not files.key_folder(settings.home, "k").exists())
