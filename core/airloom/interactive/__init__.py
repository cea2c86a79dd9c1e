"""`import airloom` in a notebook: run a pipeline, look at its runs, read datasets, ask models.

Everything here is what the command line and the server do, as objects that show themselves. Project and state folder
are found from the working folder, as by `airloom`.
"""

from airloom.interactive.datasets import Dataset, Version, dataset
from airloom.interactive.late_labels import add_labels, labels
from airloom.interactive.model_metrics import metrics
from airloom.interactive.models import Model, ModelInput, load_model
from airloom.interactive.pipeline_runs import Run, Runs, compare, run, runs
from airloom.interactive.predictions import Predictions, logged_predictions, predict

__all__ = [
    "Dataset",
    "Model",
    "ModelInput",
    "Predictions",
    "Run",
    "Runs",
    "Version",
    "add_labels",
    "compare",
    "dataset",
    "labels",
    "load_model",
    "logged_predictions",
    "metrics",
    "predict",
    "run",
    "runs",
]
