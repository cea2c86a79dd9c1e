"""The training step."""

from airloom.pipeline.steps import train
from airloom_operators.job import JobOperator


class TrainOperator(JobOperator):
    """Close the study and train with its best parameters; returns {study, model}."""

    step_record = train.STEP
