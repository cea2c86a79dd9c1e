"""The Airflow plugin. It is loaded in every process of Airflow, so it imports nothing heavy."""

from airflow.plugins_manager import AirflowPlugin

from airloom_operators.links import MlflowRunLink
from airloom_plugins.lazy import LazyApp

API = {"app": LazyApp("airloom_plugins.api.app"), "url_prefix": "/airloom/api/v1", "name": "Airloom API"}


class AirloomPlugin(AirflowPlugin):
    """Registers the links of Airloom's operators, and its API under Airflow's API server."""

    name = "airloom"
    operator_extra_links = [MlflowRunLink()]  # noqa: RUF012 - Airflow's attributes are plain class-level lists
    fastapi_apps = [API]  # noqa: RUF012
