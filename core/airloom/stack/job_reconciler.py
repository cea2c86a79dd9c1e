"""Keeps what stands outside Airflow in step with it: `airloom jobs reconcile`, a process of the stack.

A task that ends cannot always end its job: its worker was killed, its run was deleted. So this process compares living
jobs with the states of their tasks. Threads of it end the MLflow runs of pipeline runs (`airloom.stack.run_endings`),
start the runs that a paused DAG missed (`airloom.stack.missed_versions`), and count what the model servers logged
(`airloom.monitoring.metric_aggregator`).
"""

import logging
import sys
import time
from pathlib import Path

from airloom.errors import AirloomError
from airloom.jobs.given_up import verdict
from airloom.jobs.submit import host, settle
from airloom.jobs.table import Attempts
from airloom.monitoring import metric_aggregator
from airloom.settings import Settings
from airloom.stack import missed_versions, run_endings
from airloom.stack.airflow_api import AirflowApi
from airloom.stack.airflow_login import login_of

log = logging.getLogger(__name__)
# Seconds between two looks. A running task that was cleared is `restarting` for little more than a second; any other
# state stays.
CLOSE, SELDOM = 0.7, 2.0


def once(table: Attempts, api: AirflowApi, home: Path) -> bool:
    """Compare the living jobs of this state folder with their tasks; whether one of these is running."""
    here = [a for a in table.alive() if a.task and a.host == host() and a.path.is_relative_to(home)]
    living = [attempt for attempt in here if (settle(table, attempt) or attempt).alive]
    places = {a.id: (a.task["dag"], a.task["run"], a.task["task"], a.task["map_index"]) for a in living}
    known = api.tasks_at(set(places.values())) if living else {}
    running = False
    for attempt in living:
        place = places[attempt.id]
        task = known.get(place) or api.task_or_none(*place)  # only its own address says that it is gone
        running |= bool(task and task["state"] == "running")
        reason = verdict(attempt, task)
        if reason and not attempt.cancel:
            log.info("%s attempt %d: %s", attempt.key, attempt.number, reason)
            table.change(attempt.id, cancel=reason)
    return running


def reconcile(settings: Settings) -> None:
    """Compare for ever; while Airflow is away nothing is ended.

    Raises:
        ConfigError: the settings name no Airflow.
        StackError: likewise, as no stack was started here.
    """
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # a line for each of its requests would fill the log
    log.info("following the Airflow at %s", login_of(settings).url)
    table = Attempts(settings.database_address)
    begin = (run_endings.start, missed_versions.start, metric_aggregator.start)
    threads, logged = [start(settings) for start in begin], ""
    while True:
        try:
            with AirflowApi(settings) as api:
                while True:
                    running, logged = once(table, api, settings.home), ""
                    time.sleep(CLOSE if running else SELDOM)
                    # One that ended died of something that nobody foresaw; the log has it.
                    threads = [t if t.is_alive() else b(settings) for t, b in zip(threads, begin, strict=True)]
        except AirloomError as error:
            if str(error) != logged:  # once, however long it is away
                logged = str(error)
                log.warning("%s", logged)
        time.sleep(SELDOM)
