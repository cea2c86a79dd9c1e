"""The log of a job: what we, the project and torch say; of chatty libraries only warnings. Imports nothing heavy."""

import logging
import sys

# At INFO they tell of themselves: a font cache that is built, a table that is migrated.
CHATTY = ("alembic", "botocore", "dvc", "dvc_data", "dvc_objects", "git", "matplotlib", "onnx_ir", "onnxscript", "PIL")


def configure() -> None:
    """Log to standard output, which is the job's log; once for a process, before anything is imported."""
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
