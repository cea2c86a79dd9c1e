"""Pipeline runs side by side, and the candidates of one run."""

import json
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airloom.errors import RegistryError
from airloom.settings import Settings
from airloom.tracking import runs as mlflow_runs
from airloom.tracking.tags import Tag

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

LEADERBOARD = "evaluation/leaderboard.json"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


def show(settings: Settings, target: str) -> dict[str, Any]:
    """A pipeline's runs, newest first, or one run with its leaderboard.

    Args:
        settings: of this installation.
        target: a pipeline's name, an MLflow run's id, or a pipeline run's key: `digits/manual__…`.

    Raises:
        RegistryError: there is nothing of that name.
    """
    client = mlflow_runs.client(settings)
    with mlflow_runs.reachable(settings):
        if _NAME.fullmatch(target) and not re.fullmatch(r"[0-9a-f]{32}", target):
            return {"pipeline": target, "runs": [_facts(run) for run in _runs(client, target)]}
        run = find(client, target)
        return _facts(run) | {"leaderboard": _leaderboard(client, run), "trainings": _trainings(client, run)}


def compare(settings: Settings, targets: list[str]) -> dict[str, dict[str, Any]]:
    """What differs between runs: by name, the value of each run; what is equal in all is left out."""
    client = mlflow_runs.client(settings)
    with mlflow_runs.reachable(settings):
        columns = {target: _flat(client, find(client, target)) for target in targets}
    names = sorted({name for column in columns.values() for name in column})
    table = {name: {target: column.get(name) for target, column in columns.items()} for name in names}
    return {name: row for name, row in table.items() if len({json.dumps(value) for value in row.values()}) > 1}


def find(client: "MlflowClient", target: str) -> "Run":
    """A pipeline run by its MLflow id or its key.

    Raises:
        RegistryError: there is none.
    """
    from mlflow.exceptions import MlflowException

    hint = "`airloom experiment show PIPELINE` lists its runs"
    if re.fullmatch(r"[0-9a-f]{32}", target):
        try:
            return client.get_run(target)
        except MlflowException:
            raise RegistryError(f"there is no run {target}", hint) from None
    pipeline, _, rest = target.partition("/")
    if not _NAME.fullmatch(pipeline) or not rest:
        raise RegistryError(f"{target[:80]!r} names no run", hint)
    found = [run for run in _runs(client, pipeline) if run.data.tags.get(Tag.KEY) == target]
    if not found:
        raise RegistryError(f"there is no run {target[:80]}", hint)
    return found[0]


def _runs(client: "MlflowClient", pipeline: str) -> "list[Run]":
    """The parent runs of a pipeline, newest first."""
    experiment = client.get_experiment_by_name(f"airloom/{pipeline}")
    if experiment is None:
        raise RegistryError(f"pipeline {pipeline} has no runs", f"`airloom run {pipeline}` makes one")
    newest = ["attributes.start_time DESC"]
    runs = client.search_runs([experiment.experiment_id], "", max_results=1000, order_by=newest)
    return [run for run in runs if Tag.PARENT not in run.data.tags]


def _facts(run: "Run") -> dict[str, Any]:
    tags, metrics = run.data.tags, run.data.metrics
    return {
        "key": tags.get(Tag.KEY, ""),
        "run": run.info.run_id,
        "dataset": tags.get(Tag.DATASET, ""),
        "gate": tags.get(Tag.GATE, ""),
        "outcome": tags.get(Tag.OUTCOME, ""),
        "metrics": {name.removeprefix("test_"): v for name, v in metrics.items() if name.startswith("test_")},
        "champion": {n.removeprefix("champion_test_"): v for n, v in metrics.items() if n.startswith("champion_test_")},
    }


def _leaderboard(client: "MlflowClient", run: "Run") -> dict[str, Any]:
    """Empty where the run had one candidate only."""
    if not any(file.path == LEADERBOARD for file in client.list_artifacts(run.info.run_id, "evaluation")):
        return {}
    with tempfile.TemporaryDirectory(prefix="airloom-experiment-") as folder:
        return dict(json.loads(Path(client.download_artifacts(run.info.run_id, LEADERBOARD, folder)).read_text()))


def _trainings(client: "MlflowClient", run: "Run") -> list[dict[str, Any]]:
    query = f"tags.`{Tag.PARENT}` = '{run.info.run_id}' and tags.`{Tag.KIND}` = 'train'"
    found = list(client.search_runs([run.info.experiment_id], query))
    found += [client.get_run(other) for other in mlflow_runs.reused(run, "train").values()]
    return [
        {
            "run": one.info.run_id,
            "candidate": one.data.tags.get(Tag.CANDIDATE, ""),
            "function": one.data.tags.get(Tag.CODE_FUNCTION, ""),
            "parameters": dict(one.data.params),
            "metrics": dict(one.data.metrics),
        }
        for one in found
    ]


def _flat(client: "MlflowClient", run: "Run") -> dict[str, Any]:
    facts = _facts(run)
    found: dict[str, Any] = {name: facts[name] for name in ("dataset", "gate", "outcome")}
    found |= {f"test {name}": value for name, value in facts["metrics"].items()}
    for training in _trainings(client, run):
        label = f"{training['candidate']} " if training["candidate"] else ""
        found |= {f"{label}{name}": value for name, value in training["parameters"].items()}
    return found


def render(found: dict[str, Any]) -> str:
    """For people."""
    if "runs" in found:
        return "\n".join(_line(run) for run in found["runs"]) or "no runs"
    lines = [_line(found)]
    board = found["leaderboard"]
    for number, place in enumerate(board.get("places", []), 1):
        low, high = place["interval"]
        left, right = place["behind_interval"]
        lines.append(
            f"{number:3}. {place['name']:16} {board['metric']} {place['value']:.4f} ({low:.4f} to {high:.4f}), "
            f"behind {place['behind']:.4f} ({left:.4f} to {right:.4f}), {place['cost']['latency_ms']:.3f} ms"
        )
    for training in found["trainings"]:
        parameters = ", ".join(f"{name}={value}" for name, value in sorted(training["parameters"].items()))
        lines.append(f"  {training['candidate'] or 'training'}: {training['function']} {parameters}")
    return "\n".join(lines)


def render_comparison(table: dict[str, dict[str, Any]]) -> str:
    """A line for each name, a column for each run."""
    if not table:
        return "nothing differs"
    targets = list(next(iter(table.values())))
    lines = [f"{'':32} {' '.join(f'{target[-24:]:>24}' for target in targets)}"]
    for name, row in table.items():
        lines.append(f"{name[:32]:32} {' '.join(f'{_text(row[target]):>24}' for target in targets)}")
    return "\n".join(lines)


def _line(run: dict[str, Any]) -> str:
    shown = [name for name in ("accuracy", "log_loss", "mae") if name in run["metrics"]]
    metrics = " ".join(f"{name} {run['metrics'][name]:.4f}" for name in shown)
    return f"{run['key']:56} {run['dataset']:12} {run['gate']:10} {metrics}".rstrip()


def _text(value: Any) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)[-24:]
