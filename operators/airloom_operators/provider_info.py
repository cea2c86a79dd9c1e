"""What the provider tells Airflow. Data only: nothing is imported to answer."""

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """Called through the entry point `apache_airflow_provider`."""
    return {
        "package-name": "airloom",
        "name": "Airloom",
        "description": "A deep-learning system as operators, triggers and DAGs.",
        "versions": ["0.1.0"],
        "extra-links": ["airloom_operators.links.MlflowRunLink", "airloom_operators.links.EvidenceLink"],
        "asset-uris": [{"schemes": ["airloom"], "handler": "airloom_operators.assets.sanitize_uri"}],
    }
