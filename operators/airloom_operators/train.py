"""The training step."""

from airloom.pipeline.steps import train
from airloom_operators.job import JobOperator


class TrainOperator(JobOperator):
    """Close the study and train with its best parameters, without a study with the file's; returns {study, model}."""

    step_record = train.STEP
