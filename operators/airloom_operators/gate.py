"""The gate."""

from airloom_operators.base import JobOperator


class GateOperator(JobOperator):
    """Decide on evidence whether the candidate may pass; takes {evaluation: …}."""

    job = "airloom.evaluation.step:gate"
