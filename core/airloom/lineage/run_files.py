"""The text files that a run keeps: read where they lie, also after the home moved; else by MLflow's client."""

import tempfile
from pathlib import Path
from urllib.parse import unquote, urlparse

from airloom.lineage.ledger import Run
from airloom.settings import Settings
from airloom.tracking import runs

MOST_BYTES = 5_000_000  # of one file: more is no source
_BELOW = "/mlflow/artifacts/"  # of a home


def texts(settings: Settings, run: Run, folder: str) -> dict[str, str]:
    """The files below a folder of a run's artifacts, by their path in it; empty where there is none."""
    local = local_folder(settings, run.artifacts)
    if local is not None:
        return _read(local / folder)
    from mlflow.exceptions import MlflowException

    client = runs.client(settings)
    with tempfile.TemporaryDirectory(prefix="airloom-artifacts-") as place, runs.connection_errors(settings):
        try:
            return _read(Path(client.download_artifacts(run.id, folder, place)))
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST" or "does not exist" in str(error):
                return {}
            raise


def local_folder(settings: Settings, address: str) -> Path | None:
    """The folder of this machine that an artifact address means; None where it is a store's somewhere else."""
    parts = urlparse(address)
    ours = settings.home / "mlflow" / "artifacts"
    if parts.scheme == "mlflow-artifacts":
        own = not settings.tracking_uri and not parts.netloc
        return ours / unquote(parts.path).lstrip("/") if own else None
    if parts.scheme not in ("", "file"):
        return None
    path = Path(unquote(parts.path))
    _, below, rest = path.as_posix().rpartition(_BELOW)
    return ours / rest if below and not path.is_dir() else path


def _read(folder: Path) -> dict[str, str]:
    if folder.is_file():
        return {folder.name: folder.read_text(errors="replace")}
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size <= MOST_BYTES)
    return {path.relative_to(folder).as_posix(): path.read_text(errors="replace") for path in files}
