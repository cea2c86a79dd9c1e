"""From a prediction's id back to the commits of the data."""

from typing import TYPE_CHECKING, Any

from airloom.datasets.repository import git
from airloom.errors import RegistryError
from airloom.metadata import prediction_id as ids
from airloom.metadata import registry, tracking
from airloom.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient


def trace(settings: Settings, prediction_id: str) -> dict[str, Any]:
    """prediction → model version → run → parameters and code → snapshot → dataset version → commits.

    Raises:
        RegistryError: it is no prediction id, or no registered version gave it.
    """
    client = tracking.client(settings)
    with tracking.reachable(settings):
        version = _version_of(client, prediction_id)
        tags = version.tags
        train_run = client.get_run(version.run_id)
        parent = client.get_run(tags["airloom.run"])
    code = {key.removeprefix("airloom."): value for key, value in tags.items() if key.startswith("airloom.code")}
    dataset = tags["airloom.dataset"]
    return {
        "prediction": prediction_id,
        "model": {"name": version.name, "version": str(version.version), "gate": tags.get("airloom.gate", "")},
        "run": {"pipeline_run": tags["airloom.pipeline_run"], "parent": parent.info.run_id, "train": version.run_id},
        "parameters": dict(train_run.data.params),
        "code": code,
        "snapshot": tags["airloom.snapshot"],
        "dataset": {"version": dataset, "id": tags["airloom.dataset.id"], "commit": tags["airloom.dataset.commit"]},
        "commits": _commits(settings, dataset, tags["airloom.dataset.commit"]),
    }


def _version_of(client: "MlflowClient", prediction_id: str) -> Any:
    try:
        ids.matches(prediction_id, "", "")
    except ValueError:
        hint = "an id comes with each answer of the model server, in `prediction_ids`"
        raise RegistryError(f"{prediction_id[:80]!r} is no prediction id", hint) from None
    for model in client.search_registered_models(max_results=1000):
        for version in client.search_model_versions(f"name = '{model.name}'"):
            ready = version.tags.get(registry.STATE) == registry.READY
            if ready and ids.matches(prediction_id, model.name, str(version.version)):
                return version
    raise RegistryError(f"no registered model version gave prediction {prediction_id}", "was it another installation?")


def _commits(settings: Settings, dataset: str, commit: str) -> list[dict[str, str]]:
    """The commits of that dataset up to the version, newest first."""
    name = dataset.partition("@")[0]
    lines = git(settings.data_repo, "log", "--format=%H%x09%aI%x09%an%x09%s", commit, "--", name).stdout.splitlines()
    return [dict(zip(("commit", "date", "author", "message"), line.split("\t", 3), strict=True)) for line in lines]


def render(found: dict[str, Any]) -> str:
    """The chain as an indented tree."""
    model, run, data = found["model"], found["run"], found["dataset"]
    parameters = ", ".join(f"{name}={value}" for name, value in sorted(found["parameters"].items()))
    code = ", ".join(f"{name}={value}" for name, value in sorted(found["code"].items()))
    steps = [
        f"prediction {found['prediction']}",
        f"model {model['name']} version {model['version']}",
        f"run {run['pipeline_run']} (MLflow {run['parent']}, training {run['train']})",
        f"parameters {parameters}; {code}",
        f"snapshot {found['snapshot']}",
        f"dataset {data['version']} (id {data['id']})",
    ]
    lines = [f"{'  ' * depth}{'└ ' if depth else ''}{step}" for depth, step in enumerate(steps)]
    indent = "  " * len(steps)
    lines += [
        f"{indent}└ commit {c['commit'][:12]} {c['date']} {c['author']}: {c['message']}" for c in found["commits"]
    ]
    return "\n".join(lines)
