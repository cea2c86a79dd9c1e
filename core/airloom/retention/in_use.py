"""What living jobs, aliases and young model versions stand on; nobody else keeps anything.

Models and runs of other installations in the same MLflow keep what they stand on too.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airloom.jobs.files import LAUNCH, read
from airloom.jobs.states import Attempt
from airloom.jobs.submit import settle
from airloom.jobs.table import Attempts
from airloom.names import study_of_worker
from airloom.retention.items import Rules
from airloom.settings import Settings
from airloom.tracking import runs as mlflow_runs
from airloom.tracking.tags import Tag

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion


@dataclass
class InUse:
    """Reasons to keep, by what is kept.

    Attributes:
        living: attempts that may still do something.
        runs: MLflow runs of living jobs.
        models: addresses `models:/m-…`.
        commits: of the data repository, each with the dataset that is read there.
    """

    living: list[Attempt] = field(default_factory=list)
    runs: dict[str, str] = field(default_factory=dict)
    models: dict[str, str] = field(default_factory=dict)
    commits: dict[tuple[str, str], str] = field(default_factory=dict)


def find_in_use(settings: Settings, rules: Rules) -> InUse:
    """Look at the table of jobs, and at MLflow.

    Raises:
        MlflowAway: MLflow does not answer: then nobody knows what it needs.
        JobsAway: the table of jobs does not.
    """
    in_use = InUse()
    table = Attempts(settings.database_address)
    for attempt in table.alive():
        if (settle(table, attempt) or attempt).alive:
            in_use.living.append(attempt)
            _of_job(in_use, attempt)
    client = mlflow_runs.client(settings)
    with mlflow_runs.connection_errors(settings):
        for model in mlflow_runs.pages(client.search_registered_models):
            aliases = {str(number): alias for alias, number in client.get_registered_model(model.name).aliases.items()}
            for version in mlflow_runs.pages(client.search_model_versions, f"name = '{model.name}'"):
                if why := reason(version, aliases, rules):
                    _of_version(in_use, version, why)
        _of_runs(in_use, client, rules)
    return in_use


def reason(version: "ModelVersion", aliases: dict[str, str], rules: Rules) -> str:
    """Why a model version is kept; empty where nothing keeps it."""
    name = f"{version.name} version {version.version}"
    if alias := aliases.get(str(version.version)):
        return f"{name} is the {alias}"
    return "" if rules.is_old(version.creation_timestamp / 1000) else f"{name} is younger than the retention"


def _of_job(in_use: InUse, attempt: Attempt) -> None:
    launch = read(attempt.path / LAUNCH) or {}
    arguments: dict[str, Any] = launch.get("spec", {}).get("arguments", {})
    context, why = arguments.get("context") or {}, f"job {attempt.key} lives"
    if run := context.get("mlflow_run"):
        in_use.runs[run] = why
    if snapshot := context.get("snapshot") or arguments.get("snapshot"):
        in_use.commits[snapshot["dataset"], snapshot["commit"]] = why
    if batch := arguments.get("request"):
        in_use.commits[batch["snapshot"]["dataset"], batch["snapshot"]["commit"]] = why
        in_use.models[batch["model_uri"]] = why
    trained = arguments.get("trained") or {}
    for model in [trained] if "model_uri" in trained else trained.values():
        in_use.models[model["model_uri"]] = why


def _of_version(in_use: InUse, version: "ModelVersion", why: str) -> None:
    if uri := version.tags.get(Tag.MODEL_URI):
        in_use.models[uri] = why
    dataset, commit = (
        version.tags.get(Tag.DATASET, "").partition("@")[0],
        version.tags.get(Tag.DATASET_COMMIT),
    )
    if dataset and commit:
        in_use.commits[dataset, commit] = why


def _of_runs(in_use: InUse, client: "MlflowClient", rules: Rules) -> None:
    """A young pipeline run may still judge or register what it, or the run that it took it from, trained."""
    since = int((rules.now - rules.older_than) * 1000)
    experiments = [experiment.experiment_id for experiment in mlflow_runs.pages(client.search_experiments)]
    for run in mlflow_runs.pages(client.search_runs, experiments, f"attributes.start_time >= {since}"):
        why = f"run {run.data.tags.get(Tag.KEY, run.info.run_id)} is younger than the retention"
        in_use.runs.setdefault(run.info.run_id, why)
        for name, value in run.data.tags.items():
            if name.startswith(f"{Tag.REUSED}."):
                in_use.runs.setdefault(value, why)


def lives(in_use: InUse, folder: Path) -> str:
    """The living job in a folder of jobs or of studies; empty where there is none."""
    from airloom.jobs.files import key_folder

    for attempt in in_use.living:
        if attempt.path.is_relative_to(folder):
            return f"job {attempt.key} lives"
        study = study_of_worker(attempt.key)
        if study and key_folder(folder.parent.parent, study).name == folder.name:
            return f"job {attempt.key} lives"
    return ""
