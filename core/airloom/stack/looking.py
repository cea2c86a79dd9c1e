"""Look at Airflow again and again, in a thread."""

import logging
import threading
from collections.abc import Callable

from airloom.errors import AirloomError
from airloom.settings import Settings
from airloom.stack.airflow_api import AirflowApi

log = logging.getLogger(__name__)
Look = Callable[[AirflowApi], None]


def start(settings: Settings, name: str, look: Look, every: float) -> threading.Thread:
    """Look for ever, in a thread that ends with the process; while Airflow or another part is away nothing is lost.

    Args:
        settings: of this installation.
        name: of what is looked after, for the log.
        look: one look.
        every: seconds between two looks.
    """
    thread = threading.Thread(target=_forever, args=(settings, name, look, every), name=name, daemon=True)
    thread.start()
    return thread


def _forever(settings: Settings, name: str, look: Look, every: float) -> None:
    pause, logged = threading.Event(), ""
    while not pause.wait(every):  # first: a thread that died of its first look is not begun again at once
        try:
            with AirflowApi(settings) as api:
                while True:
                    look(api)
                    logged = ""
                    pause.wait(every)
        except AirloomError as error:
            if error.message != logged:  # once, however long it is away
                logged = error.message
                log.warning("%s: waiting, %s", name, logged)
