"""What a trial's training function reports to: MLflow for the curve, Optuna for the decision to go on."""

from typing import TYPE_CHECKING

from airloom.errors import JobFailed
from airloom.metadata import tracking
from airloom.settings import Settings
from airloom.training.run import Pruned

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from optuna import Trial
    from torch import Tensor
    from torch.nn import Module


class TrialSink:
    """Reports of one trial; its value is the last one reported, as the last weights are what would serve."""

    def __init__(self, settings: Settings, trial: "Trial", metric: str, api: "MlflowClient", run_id: str) -> None:
        self._settings = settings
        self._trial = trial
        self._metric = metric
        self._api = api
        self._run_id = run_id
        self._values: dict[str, float] = {}

    def report(self, step: int, metrics: dict[str, float]) -> None:
        self._values |= metrics
        with tracking.reachable(self._settings):  # else a dead server looked like a fault of the user's function
            tracking.log_metrics(self._api, self._run_id, metrics, step)
        if self._metric in metrics:
            self._trial.report(metrics[self._metric], step)
            if self._trial.should_prune():
                raise Pruned

    def save(self, model: "Module", example: "Tensor") -> None:
        """A trial's model is not kept: the best parameters are trained again at full length."""

    @property
    def value(self) -> float:
        """The objective.

        Raises:
            JobFailed: the training function never reported it.
        """
        if self._metric not in self._values:
            reported = ", ".join(sorted(self._values)) or "nothing"
            message = f"the training function never reported {self._metric!r}, it reported: {reported}"
            raise MetricMissing(message, "set tune.objective.metric to one that it reports")
        return self._values[self._metric]


class MetricMissing(JobFailed):
    """The objective is not among the reported metrics; no other trial will have it either."""
