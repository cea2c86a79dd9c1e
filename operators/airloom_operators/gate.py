"""The gate."""

from airloom_operators.job import JobOperator


class GateOperator(JobOperator):
    """Decide on evidence whether the candidate may pass; takes {evaluation: …}."""

    job = "airloom.evaluation.step:gate"
    light = True
