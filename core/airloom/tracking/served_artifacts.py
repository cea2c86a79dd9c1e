"""Artifacts that this home's MLflow server kept, where they lie: a home is whole also while no server runs.

A server gives its experiments the address `mlflow-artifacts:/…`, which MLflow's own client can only ask a server for.
"""

from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlparse

from airloom.errors import RegistryError
from airloom.files import sqlite_file


def register() -> None:
    """Let MLflow's clients of this process find them; with a server as tracking address all is as before."""
    from mlflow.store.artifact.artifact_repository_registry import _artifact_repository_registry

    _artifact_repository_registry.register("mlflow-artifacts", _repository)


def _repository(artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None) -> Any:
    """As MLflow's registry calls it."""
    import mlflow
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
    from mlflow.store.artifact.mlflow_artifacts_repo import MlflowArtifactsRepository

    store, address = tracking_uri or mlflow.get_tracking_uri(), urlparse(artifact_uri)
    if not store.startswith("sqlite:") or address.netloc:
        return MlflowArtifactsRepository(artifact_uri, tracking_uri, registry_uri)
    below = PurePosixPath(unquote(address.path)).relative_to("/")
    if ".." in below.parts:
        raise RegistryError(f"{artifact_uri[:200]!a} leaves the folder of artifacts", "delete its experiment in MLflow")
    return LocalArtifactRepository((sqlite_file(store).parent / "artifacts" / below).as_uri())
