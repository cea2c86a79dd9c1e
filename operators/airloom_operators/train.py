"""The training step."""

from airloom_operators.job import JobOperator


class TrainOperator(JobOperator):
    """Close the study and train with its best parameters; returns {study, model}."""

    job = "airloom.pipeline.steps:train"
    cached = "train"
