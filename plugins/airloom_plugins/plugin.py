"""The Airflow plugin. It is loaded in every process of Airflow, so it imports nothing heavy."""

from airflow.plugins_manager import AirflowPlugin

from airloom_operators.links import MlflowRunLink


class AirloomPlugin(AirflowPlugin):
    """Registers the links of Airloom's operators."""

    name = "airloom"
    operator_extra_links = [MlflowRunLink()]  # noqa: RUF012 - Airflow's attribute is a plain class-level list
