"""What the provider tells Airflow. Data only: nothing is imported to answer."""

from typing import Any

# The fields of each type of connection beside Airflow's own: label, and what it says.
FIELDS: dict[str, dict[str, tuple[str, str]]] = {
    "airloom": {
        "project": ("Project", "its folder, /srv/shop; AIRLOOM_* of the environment then count no more"),
        "home": ("State folder", "from the project's folder; empty: as airloom.toml has it, else .airloom"),
        "mlflow": ("MLflow", "id of a connection of type Airloom MLflow"),
        "server": ("Model server", "id of a connection of type Airloom model server"),
        "airflow": ("Airflow", "id of a connection of type Airloom Airflow API: for notes on runs"),
        "job_python": ("Python of jobs", "of the environment that has torch, /srv/training/bin/python"),
        "database": ("Database", "postgresql://airloom@db.example.org/airloom; empty: a file of the state folder"),
        "data_remote": ("Data remote", "the git remote of the datasets that several homes share"),
        "dvc_remote": ("DVC remote", "where the rows lie then, s3://team-data/dvc"),
        "namespace": ("Installation", "its name, which the state folder has"),
        "trusted_keys": ("Trusted keys", "a file of keys instead of the one of the state folder"),
    },
    "airloom_mlflow": {
        "store": ("Database of MLflow", "postgresql://mlflow@db.example.org/mlflow, which lineage reads"),
        "store_password": ("Password of that database", ""),
    },
    "airloom_server": {},
    "airloom_airflow": {},
}


def get_provider_info() -> dict[str, Any]:
    """Called through the entry point `apache_airflow_provider`."""
    return {
        "package-name": "airloom",
        "name": "Airloom",
        "description": "A deep-learning system as operators, triggers and DAGs.",
        "versions": ["0.1.0"],
        "extra-links": ["airloom_operators.links.MlflowRunLink", "airloom_operators.links.EvidenceLink"],
        "asset-uris": [{"schemes": ["airloom"], "handler": "airloom_operators.assets.sanitize_uri"}],
        "connection-types": [
            _connection("airloom", "Airloom project", "AirloomHook", {"password": "Password of the database"}),
            _connection(
                *("airloom_mlflow", "Airloom MLflow", "MlflowHook"),
                {"host": "Address", "login": "User", "password": "Password, or token"},
                {"host": "https://mlflow.example.org", "login": "empty for a token"},
            ),
            _connection(
                *("airloom_server", "Airloom model server", "ModelServerHook"),
                {"host": "Address", "password": "Token"},
                {"host": "https://models.example.org"},
            ),
            _connection(
                *("airloom_airflow", "Airloom Airflow API", "AirflowApiHook"),
                {"host": "Address", "login": "User", "password": "Password, or token"},
                {"host": "https://airflow.example.org", "login": "empty for a token"},
            ),
        ],
    }


def _connection(
    kind: str, name: str, hook: str, labels: dict[str, str], placeholders: dict[str, str] | None = None
) -> dict[str, Any]:
    """A type with its form: of Airflow's own fields those with a label."""
    fields = {}
    for field, (label, says) in FIELDS[kind].items():
        schema: dict[str, Any] = {"type": ["string", "null"]}
        if field.endswith("password"):
            schema["format"] = "password"
        fields[field] = {"label": label, "schema": schema} | ({"description": says} if says else {})
    return {
        "connection-type": kind,
        "hook-name": name,
        "hook-class-name": f"airloom_operators.hooks.{hook}",
        "conn-fields": fields,
        "ui-field-behaviour": {
            "hidden-fields": [one for one in ("host", "schema", "login", "password", "port") if one not in labels],
            "relabeling": labels,
            "placeholders": placeholders or {},
        },
    }
