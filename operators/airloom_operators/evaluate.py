"""The evaluation step."""

from airloom.pipeline.steps import evaluate
from airloom_operators.job import JobOperator


class EvaluateOperator(JobOperator):
    """Candidate and champion on the same frozen test split; takes {trained: …}."""

    step_record = evaluate.STEP
