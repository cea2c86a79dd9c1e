"""The client of a home's MLflow: quiet, and whole while no server runs."""

import logging
import shutil
from pathlib import Path

import pytest

from airloom.errors import RegistryError
from airloom.settings import Settings
from airloom.tracking import runs


@pytest.fixture
def settings(tmp_path: Path, migrated: Path) -> Settings:
    home = tmp_path / "a home"
    (home / "mlflow").mkdir(parents=True)
    shutil.copyfile(migrated, home / "mlflow" / "mlflow.db")
    return Settings(home=home, tracking_uri="")


def test_artifacts_of_a_server_are_read_and_written_where_it_keeps_them(settings: Settings) -> None:
    import mlflow

    api = runs.client(settings)
    run = api.create_run(api.create_experiment("airloom/digits", "mlflow-artifacts:/7")).info
    kept = settings.home / "mlflow" / "artifacts" / "7" / run.run_id / "artifacts" / "evaluation"
    kept.mkdir(parents=True)
    (kept / "of a server.txt").write_text("kept")

    api.log_text(run.run_id, "also kept", "evaluation/later.txt")

    assert (kept / "later.txt").read_text() == "also kept"
    listed = [file.path for file in api.list_artifacts(run.run_id, "evaluation")]
    assert listed == ["evaluation/later.txt", "evaluation/of a server.txt"]
    assert mlflow.artifacts.load_text(f"{run.artifact_uri}/evaluation/of a server.txt") == "kept"
    with mlflow.start_run(run_id=run.run_id):
        mlflow.log_dict({"by": "the module"}, "more.json")
    assert (kept.parent / "more.json").is_file()


def test_an_address_that_leaves_the_folder_is_refused(settings: Settings) -> None:
    import mlflow

    api = runs.client(settings)
    with pytest.raises(RegistryError, match="leaves the folder"):
        mlflow.artifacts.load_text("mlflow-artifacts:/../../mlflow.db")
    assert api.search_experiments()


def test_the_address_of_a_named_server_stays_with_that_server(settings: Settings) -> None:
    import mlflow

    runs.client(settings)
    with pytest.raises(mlflow.MlflowException, match="tracking URI must be a valid http"):
        mlflow.artifacts.load_text("mlflow-artifacts://elsewhere:5000/7/a.txt")


def test_mlflow_tells_nothing_of_its_tables_also_where_it_was_imported_before(settings: Settings) -> None:
    logger = logging.getLogger("mlflow")
    logger.setLevel(logging.INFO)  # as `import mlflow` leaves it where nothing else is asked for
    runs.client(settings)
    assert not logger.isEnabledFor(logging.INFO)
