"""The tuning step: a worker that runs many trials."""

from airloom_operators.job import JobOperator


class TuneOperator(JobOperator):
    """One worker of the run's study: it runs its share of the trials. Map it over `arguments`."""

    job = "airloom.tuning.step:work"
