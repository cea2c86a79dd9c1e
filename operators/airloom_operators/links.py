"""Links from a task to what it made elsewhere."""

from typing import Any

from airflow.sdk import BaseOperatorLink


class MlflowRunLink(BaseOperatorLink):
    """The MLflow run that this task wrote to."""

    name = "MLflow run"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002 - the signature is Airflow's
        """The address that `execute` left on the operator; empty when the task ended before."""
        return str(getattr(operator, "mlflow_link", ""))


class EvidenceLink(BaseOperatorLink):
    """The page on which the gate says why, among the artifacts of the MLflow run."""

    name = "Gate evidence"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002 - the signature is Airflow's
        """The address of the page; empty when the task ended before."""
        return self.address(operator)

    @staticmethod
    def address(operator: Any) -> str:
        """Where the page stands in MLflow."""
        run = str(getattr(operator, "mlflow_link", ""))
        return f"{run}/artifacts/gate/evidence.html" if run else ""
