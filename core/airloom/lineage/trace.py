"""From a prediction, a model version or a run back to the commits and sources of the data."""

import json
from typing import Any

from airloom.contracts import DatasetVersion, Snapshot
from airloom.datasets import holders, versions
from airloom.errors import DataError
from airloom.lineage import subject as subjects
from airloom.lineage.ledger import Ledger, Run, Version
from airloom.lineage.ledger_sql import open_ledger
from airloom.monitoring import prediction_log, totals
from airloom.settings import Settings
from airloom.tracking.tags import READY, Tag


def trace(settings: Settings, target: str) -> dict[str, Any]:
    """The whole chain: prediction → model version → training → pipeline run → snapshot → dataset version → commits.

    Args:
        settings: of this installation.
        target: a prediction's id, a model (`digits`, `digits@champion`, `digits/3`), an MLflow run's id, or a pipeline
            run's key.

    Returns:
        Plain types. `prediction` and `logged` (its row of the log, None where it was not kept) for a prediction;
        `model` (None for a run that no version came of) and `models`, `run`, `parameters`, `code`, `snapshot`, `read`
        (what the snapshot takes), `dataset`, `commits` (newest first, with the rows that this version still has of
        each, and their source), `missing` (what could not be looked up, and why).

    Raises:
        RegistryError: it names nothing that is there.
    """
    ledger = open_ledger(settings)
    subject = subjects.find(ledger, target, lambda one: _answered_by(settings, one))
    version, run, models = subject.version, subject.run, list[Version]()
    if run is not None:
        models = _models_of(ledger, run)
        version = models[0] if len(models) == 1 else None
    head: dict[str, Any] = {"target": target}
    if subject.prediction:
        head |= {"prediction": subject.prediction, "logged": _logged(settings, subject.prediction)}
    # What names neither a version nor a run was refused.
    chain = _of_version(settings, ledger, version) if version else _of_run(settings, ledger, run)  # type: ignore[arg-type]
    return head | chain | ({"models": [one.name for one in models]} if run is not None else {})


def _models_of(ledger: Ledger, run: Run) -> list[Version]:
    """The complete versions that a training or a pipeline run made."""
    key = Tag.TRAIN_RUN if Tag.PARENT in run.tags else Tag.RUN
    found = [ledger.version(*which) for which in sorted(ledger.tagged_versions(key, [run.id]))]
    return [one for one in found if one and one.tags.get(Tag.STATE) == READY]


def _of_version(settings: Settings, ledger: Ledger, version: Version) -> dict[str, Any]:
    """What the version carries itself is enough, should its runs be gone."""
    tags = version.tags
    training = ledger.run(tags.get(Tag.TRAIN_RUN, version.run))
    aliases = ledger.aliases().get(version.model, {})
    parameters = training.parameters if training else _text(json.loads(tags.get(Tag.PARAMETERS, "{}")))
    model = {
        "name": version.model,
        "version": version.number,
        "aliases": sorted(alias for alias, number in aliases.items() if number == version.number),
        "gate": tags.get(Tag.GATE, ""),
        "predictions": totals.predictions(settings).get((version.model, version.number), 0),
    }
    run = {
        "pipeline_run": tags.get(Tag.PIPELINE_RUN, ""),
        "parent": tags.get(Tag.RUN, ""),
        "train": training.id if training else tags.get(Tag.TRAIN_RUN, version.run),
        "name": training.name if training else "",
        "kind": "train",
    }
    own = {"model": model, "run": run, "parameters": parameters, "code": _code(tags)}
    return own | _data(settings, tags | (_record_of(training) if training else {}))


def _of_run(settings: Settings, ledger: Ledger, run: Run) -> dict[str, Any]:
    """A run that no single version came of: a trial, a refused candidate, a pipeline run with several trainings."""
    training, all_trainings = subjects.training_of(ledger, run)
    parent = ledger.run(run.tags[Tag.PARENT]) if Tag.PARENT in run.tags else run
    found: dict[str, Any] = {
        "pipeline_run": parent.tags.get(Tag.KEY, "") if parent else "",
        "parent": parent.id if parent else run.tags.get(Tag.PARENT, ""),
        "train": training.id if training and training.tags.get(Tag.KIND) == "train" else "",
        "name": run.name,
        "kind": run.tags.get(Tag.KIND, "pipeline run"),
        "id": run.id,
        "status": run.status,
    }
    found |= {"trainings": all_trainings} if len(all_trainings) > 1 else {}
    of = training or run
    own = {"model": None, "run": found, "parameters": of.parameters, "code": _code(of.tags)}
    tags = (parent.tags if parent else {}) | of.tags
    return own | _data(settings, tags | _record_of(of))


def _record_of(run: Run) -> dict[str, str]:
    """What the training itself wrote down of its data; the pipeline's run may have been continued on other data."""
    if Tag.SNAPSHOT_RECORD not in run.tags:
        return {}
    read = Snapshot.from_dict(json.loads(run.tags[Tag.SNAPSHOT_RECORD]))
    names = {"": read.version_name, ".id": read.version_id, ".commit": read.commit}
    return {Tag.SNAPSHOT_RECORD: run.tags[Tag.SNAPSHOT_RECORD], Tag.SNAPSHOT: read.id} | {
        f"{Tag.DATASET}{name}": value for name, value in names.items()
    }


def _data(settings: Settings, tags: dict[str, str]) -> dict[str, Any]:
    """Snapshot, dataset version and commits, by the tags of a version or a run."""
    read = Snapshot.from_dict(json.loads(tags[Tag.SNAPSHOT_RECORD])) if Tag.SNAPSHOT_RECORD in tags else None
    name = tags.get(Tag.DATASET, "")
    dataset = {
        "version": name,
        "id": tags.get(f"{Tag.DATASET}.id", ""),
        "commit": tags.get(f"{Tag.DATASET}.commit", ""),
    }
    taken = {"split": read.split, "rows": read.rows, "since": read.since, "tags": read.tags} if read else None
    found: dict[str, Any] = {"snapshot": tags.get(Tag.SNAPSHOT, ""), "read": taken, "dataset": dataset, "commits": []}
    missing = ""
    if name:
        try:
            found["commits"] = commits(settings, name, read)
            found["dataset"]["id"] = dataset["id"] or found["commits"][0]["id"]
        except DataError as error:
            missing = f"the commits of {name}: {error.message}"
    else:
        missing = "the dataset: no run or version says which it was"
    return found | {"missing": missing}


def commits(settings: Settings, name: str, read: Snapshot | None = None) -> list[dict[str, Any]]:
    """The commits behind a dataset version, newest first, with what is left of each; compactions are none.

    Args:
        settings: of this installation.
        name: `digits@v3`, deleted or not.
        read: a snapshot of it; `read` is then how many of the rows it takes.

    Raises:
        DataError: the data repository does not have the version.
    """
    dataset, _, number = name.rpartition("@v")
    known = {version.number: (version, gone) for version, gone in versions.history(settings, dataset)}
    if not number.isdecimal() or int(number) not in known:
        raise DataError(f"there is no {name} in {settings.data_repo}", "is it the home of another installation?")
    line = _ancestors(known[int(number)][0], [version for version, _ in known.values()])
    left: dict[int, int] = {}
    taken: dict[int, int] = {}
    for span in holders.spans_of(settings, line[0]):
        left[span.version] = left.get(span.version, 0) + span.rows
        if read is None or read.reads(span.version, span.tags):
            taken[span.version] = taken.get(span.version, 0) + span.rows
    return [
        {
            "commit": one.commit,
            "version": one.name,
            "id": one.id,
            "date": one.created,
            "author": one.author,
            "message": one.message,
            "tags": one.tags,
            "source": one.source,
            "rows": left.get(one.number, 0),
            "read": taken.get(one.number, 0),
            "deleted": known[one.number][1],
        }
        for one in line
    ]


def _ancestors(version: DatasetVersion, known: list[DatasetVersion]) -> list[DatasetVersion]:
    """The version and those that it was made of, newest first: a version is made of the newest that was not deleted."""
    line = [version]
    for one in sorted(known, key=lambda v: v.number, reverse=True):
        if one.number < line[-1].number and one.id == line[-1].parent:
            line.append(one)
    return line


def _answered_by(settings: Settings, prediction: str) -> tuple[str, str] | None:
    row = prediction_log.find(settings, prediction)
    return (row["model"], row["version"]) if row else None


def _logged(settings: Settings, prediction: str) -> dict[str, Any] | None:
    row = prediction_log.find(settings, prediction)
    return row | {"time": row["time"].isoformat()} if row else None


def _code(tags: dict[str, str]) -> dict[str, str]:
    return {name.removeprefix("airloom."): value for name, value in tags.items() if name.startswith(Tag.CODE)}


def _text(values: dict[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in values.items()}


def render(found: dict[str, Any]) -> str:
    """The chain as an indented tree."""
    model, run, data = found["model"], found["run"], found["dataset"]
    parameters = ", ".join(f"{name}={value}" for name, value in sorted(found["parameters"].items()))
    code = ", ".join(f"{name}={value}" for name, value in sorted(found["code"].items()))
    steps = [_prediction(found)] if "prediction" in found else []
    if model:
        aliases = "".join(f" @{alias}" for alias in model["aliases"])
        steps.append(f"model {model['name']} version {model['version']}{aliases}, {model['predictions']} predictions")
    elif found.get("models"):
        steps.append(f"models {', '.join(found['models'])}")
    trained = f", training {run['train']}" if run["train"] else ""
    steps.append(f"run {run['pipeline_run']} (MLflow {run['parent']}{trained})")
    if run.get("id") and run["id"] not in (run["parent"], run["train"]):
        steps[-1] += f", {run['kind']} {run['id']} {run['name']}"
    steps += [
        "; ".join(text for text in (f"parameters {parameters or '-'}", code) if text),
        f"snapshot {found['snapshot']}{_read(found['read'])}",
        f"dataset {data['version']} (id {data['id']})",
    ]
    lines = [f"{'  ' * depth}{'└ ' if depth else ''}{step}" for depth, step in enumerate(steps)]
    indent = "  " * len(steps)
    lines += [f"{indent}└ {_commit(entry)}" for entry in found["commits"]]
    return "\n".join([*lines, *([f"not found: {found['missing']}"] if found["missing"] else [])])


def _prediction(found: dict[str, Any]) -> str:
    row = found["logged"]
    if row is None:
        return f"prediction {found['prediction']}: its log row is not kept; the id names the version"
    return f"prediction {found['prediction']}: {row['prediction']} at {row['time']} in {row['latency_ms']:.2f} ms"


def _read(read: dict[str, Any] | None) -> str:
    if read is None:
        return ""
    rows = ", ".join(f"{name} {count}" for name, count in read["rows"].items())
    asked = [f"since v{read['since']}"] if read["since"] else []
    asked += [f"tags {' '.join(read['tags'])}"] if read["tags"] else []
    return f": {rows}{''.join(f'; {text}' for text in asked)}"


def _commit(entry: dict[str, Any]) -> str:
    source = f", from {entry['source']}" if entry["source"] else ""
    read = f", {entry['read']} read" if entry["read"] != entry["rows"] else ""
    gone = ", version deleted" if entry["deleted"] else ""
    rows = f"{entry['rows']} rows{read}{gone}{source}"
    said = f"{entry['version']} {entry['date']} {entry['author']}: {entry['message']}"
    return f"commit {entry['commit'][:12]} {said}; {rows}"
