"""The log of a job: what we, the project and torch say; of chatty libraries only warnings. Imports nothing heavy."""

import logging
import re
import sys

# At INFO they tell of themselves: a font cache that is built, a table that is migrated.
CHATTY = ("alembic", "botocore", "dvc", "dvc_data", "dvc_objects", "git", "matplotlib", "onnx_ir", "onnxscript", "PIL")
# Also of these a person at a terminal wants warnings only; the log has everything.
QUIET = (*CHATTY, "great_expectations", "httpx", "mlflow", "numexpr", "onnxruntime", "optuna", "torch", "urllib3")
_LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} ([A-Z]+) ([^\s:]+): (.*)", re.DOTALL)


def for_people(line: str) -> str:
    """What a terminal shows of a line of a job's log: the message, and that it is a warning.

    Empty for what libraries tell of themselves. What is no line of the logging module, such as a print, stays as it is.
    """
    found = _LINE.fullmatch(line)
    if not found:
        return line
    level, logger, message = found.groups()
    if level not in ("DEBUG", "INFO"):
        return f"{level.lower()}: {message}"
    return "" if logger.partition(".")[0] in QUIET else message


def configure() -> None:
    """Log to standard output, which is the job's log; once for a process, before anything is imported."""
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
