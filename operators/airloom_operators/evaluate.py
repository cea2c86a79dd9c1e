"""The evaluation step."""

from airloom_operators.job import JobOperator


class EvaluateOperator(JobOperator):
    """Candidate and champion on the same frozen test split; takes {trained: …}."""

    job = "airloom.evaluation.step:evaluate"
    cached = "evaluate"
    light = True
