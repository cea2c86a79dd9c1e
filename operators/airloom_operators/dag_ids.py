"""Who has a DAG's id. Airflow has each once, and the DAG file that it reads last silently replaces the other's DAG.

Airflow reads each DAG file in a process of its own, which cannot ask Airflow who else has an id. So what each file
built is kept in `AIRFLOW_HOME/airloom_dag_ids.json`, and the first one keeps its ids. What is kept of a file counts
while the file is as it was, its pipeline file is there, and Airflow has read it lately: a file that was moved, changed
or taken out of the DAG folder holds back no other.
"""

import fcntl
import json
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

from airflow.sdk import get_parsing_context

from airloom.files import replacing

LATELY = 600.0  # seconds; thrice the time after which Airflow reads a file again, where that is more
KEPT = "airloom_dag_ids.json"
log = logging.getLogger(__name__)

_built: "WeakKeyDictionary[ModuleType, dict[str, str]]" = WeakKeyDictionary()  # by a reading of a DAG file


class DagIds:
    """The ids that one call of `build_dags` takes.

    Args:
        mine: ids that earlier calls in the same DAG file took, and what they built them from; is added to.
        others: the same of other DAG files.
        runs: the only DAG that is wanted, where a task runs; Airflow runs it from this file, so it is this file's.
    """

    def __init__(self, mine: dict[str, str], others: dict[str, str], runs: str | None = None) -> None:
        self._mine, self._others, self._runs = mine, others, runs

    def take(self, dag_id: str, source: Path) -> str:
        """Take an id for what is built from a file; returns who has it already, else nothing."""
        there = "" if dag_id == self._runs else self._others.get(dag_id, "")
        if there := self._mine.get(dag_id, there):
            return there
        self._mine[dag_id] = str(source)
        return ""


@contextmanager
def dag_ids() -> Iterator[DagIds]:
    """The ids that the DAG file which is being read may take; what it took is kept.

    Nothing is kept by a task, which reads its file too, nor where it is not Airflow that reads. Where the disk does not
    take it, a DAG file knows of itself only.
    """
    module, runs = _reading(), get_parsing_context().dag_id
    if module is None:
        yield DagIds({}, {})
        return
    mine, own = _built.setdefault(module, {}), str(module.__file__)
    home = Path(os.environ.get("AIRFLOW_HOME") or "~/airflow").expanduser()
    with ExitStack() as stack:
        kept = dict[str, Any]()
        with _said():
            lock = stack.enter_context((home / ".airloom_dag_ids.lock").open("a"))
            fcntl.flock(lock, fcntl.LOCK_EX)
            kept = _read(home / KEPT)
        yield DagIds(mine, _others(kept, own), runs)
        if runs is None:
            with _said(), replacing(home / KEPT) as new:
                kept[own] = {"modified": Path(own).stat().st_mtime_ns, "read": time.time(), "ids": mine}
                new.write_text(json.dumps(kept), encoding="utf-8")


@contextmanager
def _said() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        log.warning("whether another DAG file has a DAG of the same id is not known: %s", error)


def _read(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError):  # none yet, or damaged: each DAG file is read again within a minute
        return {}


def _reading() -> ModuleType | None:
    """The DAG file that Airflow reads in this process; Airflow says it where an Airflow of another version may not."""
    try:
        from airflow.sdk.definitions._internal.contextmanager import DagContext
    except ImportError:
        return None
    return sys.modules.get(getattr(DagContext, "current_autoregister_module_name", None) or "")


def _others(kept: dict[str, Any], own: str) -> dict[str, str]:
    """What other DAG files have; those that are no more are taken out of what is kept."""
    from airflow.configuration import conf

    lately = max(LATELY, 3 * conf.getint("dag_processor", "min_file_process_interval", fallback=30))
    others = dict[str, str]()
    for file, entry in list(kept.items()):
        if file == own:
            continue
        if time.time() - entry["read"] > lately or not _is_as_it_was(Path(file), entry["modified"]):
            del kept[file]
            continue
        others |= {
            dag_id: f"{source} (of the DAG file {file})"
            for dag_id, source in entry["ids"].items()
            if Path(source).is_file()
        }
    return others


def _is_as_it_was(file: Path, modified: int) -> bool:
    try:
        return file.stat().st_mtime_ns == modified
    except OSError:
        return False
