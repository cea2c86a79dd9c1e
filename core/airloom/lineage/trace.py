"""From a prediction, a model version or a run back to the commits and sources of the data."""

import json
from collections import Counter
from dataclasses import replace
from typing import Any

from airloom.contracts import DatasetVersion, Snapshot
from airloom.datasets import holders, versions
from airloom.errors import DataError
from airloom.lineage import batches
from airloom.lineage import subject as subjects
from airloom.lineage.ledger import TRAIN, Ledger, Run, Version
from airloom.lineage.ledger_sql import open_ledger
from airloom.lineage.trace_record import (
    Lineage,
    ReadRows,
    TracedBatch,
    TracedCommit,
    TracedDataset,
    TracedModel,
    TracedRun,
)
from airloom.monitoring import prediction_log, totals
from airloom.names import shown_model
from airloom.settings import Settings
from airloom.tracking.tags import NOT_JUDGED, NOT_TUNED, READY, Tag


def trace(settings: Settings, target: str) -> Lineage:
    """The whole chain: prediction → model version → training → pipeline run → snapshot → dataset version → commits.

    Args:
        settings: of this installation.
        target: a prediction's id, a model (`digits`, `digits@champion`, `digits/3`), an MLflow run's id, or a pipeline
            run's key.

    Raises:
        RegistryError: it names nothing that is there.
    """
    ledger = open_ledger(settings)
    own = settings.installation
    subject = subjects.find(ledger, target, own, lambda prediction: _answered_by(settings, prediction))
    if isinstance(subject.named, Run):
        if traced := _of_batch(settings, ledger, target, subject.named):
            return traced
        models = _models_of(ledger, subject.named)
        if len(models) == 1:
            lineage = _of_version(settings, ledger, target, models[0])
        else:
            lineage = _of_run(settings, ledger, target, subject.named)
        names = [f"{shown_model(version.model, own)}/{version.number}" for version in models]
        return replace(lineage, models=names)
    lineage = _of_version(settings, ledger, target, subject.named)
    if not subject.prediction:
        return lineage
    logged = prediction_log.find(settings, subject.prediction)
    answered = replace(lineage, prediction=subject.prediction, logged=logged)
    version = subject.named
    found = None if logged else batches.of_prediction(ledger, version.model, version.number, subject.prediction)
    return replace(answered, batch=_batch(settings, *found)) if found else answered


def _of_batch(settings: Settings, ledger: Ledger, target: str, run: Run) -> Lineage | None:
    """The chain of the model that a batch prediction asked; None where the run is none, or the model is gone."""
    batch = batches.Batch.of_tags(run.id, run.tags)
    version = ledger.version(batch.record.model, batch.record.version) if batch else None
    if batch is None or version is None:
        return None
    return replace(_of_version(settings, ledger, target, version), batch=_batch(settings, batch, None))


def _batch(settings: Settings, batch: batches.Batch, row: int | None) -> TracedBatch:
    """A batch prediction, and who brought a row of it: nobody can tell that where rows were forgotten since."""
    record = batch.record
    traced = TracedBatch(batch.run, record.dataset, record.split, record.rows, batch.committed, row)
    dataset, _, number = record.dataset.rpartition("@v")
    history = {version.number: version for version, _ in versions.history(settings, dataset)}
    version = history.get(int(number))
    if row is None or version is None or version.redacted or version.id != record.content:
        return traced
    left = row
    for span in holders.spans_of(settings, version):
        if left < span.rows:
            by = history[span.version]
            return replace(traced, brought_by=by.name, commit=by.commit)
        left -= span.rows
    return traced


def _models_of(ledger: Ledger, run: Run) -> list[Version]:
    """The complete versions that a training or a pipeline run made."""
    key = Tag.TRAIN_RUN if Tag.PARENT in run.tags else Tag.RUN
    tagged = [ledger.version(*which) for which in sorted(ledger.tagged_versions(key, [run.id]))]
    return [version for version in tagged if version and version.tags.get(Tag.STATE) == READY]


def _of_version(settings: Settings, ledger: Ledger, target: str, version: Version) -> Lineage:
    """The chain of a model version. What the version carries itself is enough, should its runs be gone."""
    tags = version.tags
    training = ledger.run(tags.get(Tag.TRAIN_RUN, version.run))
    aliases = ledger.aliases().get(version.model, {})
    model = TracedModel(
        name=shown_model(version.model, settings.installation),
        version=version.number,
        aliases=sorted(alias for alias, number in aliases.items() if number == version.number),
        gate=tags.get(Tag.GATE, ""),
        predictions=totals.predictions(settings).get((version.model, version.number), 0),
        taken_from=tags.get(Tag.FROM, ""),
    )
    run = TracedRun(
        pipeline_run=tags.get(Tag.PIPELINE_RUN, ""),
        parent=tags.get(Tag.RUN, ""),
        train=training.id if training else tags.get(Tag.TRAIN_RUN, version.run),
        name=training.name if training else "",
        kind=TRAIN,
        study=tags.get(Tag.STUDY, ""),
    )
    recorded = json.loads(tags.get(Tag.PARAMETERS, "{}"))
    parameters = training.parameters if training else {name: str(value) for name, value in recorded.items()}
    lineage = Lineage(target, model, run, parameters, _code(tags))
    return _with_data(settings, lineage, tags | (_record_of(training) if training else {}))


def _of_run(settings: Settings, ledger: Ledger, target: str, run: Run) -> Lineage:
    """A run that no single version came of: a trial, a refused candidate, a pipeline run with several trainings."""
    training, trainings = subjects.training_of(ledger, run)
    parent = ledger.run(run.tags[Tag.PARENT]) if Tag.PARENT in run.tags else run
    traced = TracedRun(
        pipeline_run=parent.tags.get(Tag.KEY, "") if parent else "",
        parent=parent.id if parent else run.tags.get(Tag.PARENT, ""),
        train=training.id if training and training.tags.get(Tag.KIND) == TRAIN else "",
        name=run.name,
        kind=run.tags.get(Tag.KIND, "pipeline run"),
        id=run.id,
        status=run.status,
        trainings=trainings if len(trainings) > 1 else [],
        study=training.tags.get(Tag.STUDY, "") if training else "",
    )
    source = training or run  # of parameters, code and data
    tags = (parent.tags if parent else {}) | source.tags
    lineage = Lineage(target, None, traced, source.parameters, _code(source.tags))
    return _with_data(settings, lineage, tags | _record_of(source))


def _record_of(run: Run) -> dict[str, str]:
    """What the training itself wrote down of its data; the pipeline's run may have been continued on other data."""
    if Tag.SNAPSHOT_RECORD not in run.tags:
        return {}
    read = Snapshot.from_dict(json.loads(run.tags[Tag.SNAPSHOT_RECORD]))
    return {
        Tag.SNAPSHOT_RECORD: run.tags[Tag.SNAPSHOT_RECORD],
        Tag.SNAPSHOT: read.id,
        Tag.DATASET: read.version_name,
        Tag.DATASET_ID: read.version_id,
        Tag.DATASET_COMMIT: read.commit,
    }


def _with_data(settings: Settings, lineage: Lineage, tags: dict[str, str]) -> Lineage:
    """The chain with snapshot, dataset version and commits, by the tags of a version or a run."""
    read = Snapshot.from_dict(json.loads(tags[Tag.SNAPSHOT_RECORD])) if Tag.SNAPSHOT_RECORD in tags else None
    name, behind, missing = tags.get(Tag.DATASET, ""), list[TracedCommit](), ""
    if name:
        try:
            behind = commits(settings, name, read)
        except DataError as error:
            missing = f"the commits of {name}: {error.message}"
    else:
        missing = "the dataset: no run or version says which it was"
    identity = tags.get(Tag.DATASET_ID, "") or (behind[0].id if behind else "")
    return replace(
        lineage,
        pretrained=json.loads(tags.get(Tag.PRETRAINED, "{}")),
        snapshot=tags.get(Tag.SNAPSHOT, ""),
        read=ReadRows(read.split, read.rows, read.since, read.tags, read.by) if read else None,
        dataset=TracedDataset(name, identity, tags.get(Tag.DATASET_COMMIT, ""), behind[0].redacted if behind else 0),
        commits=behind,
        missing=missing,
    )


def commits(settings: Settings, name: str, read: Snapshot | None = None) -> list[TracedCommit]:
    """The commits behind a dataset version, newest first, with what is left of each; compactions are none.

    Args:
        settings: of this installation.
        name: `digits@v3`, deleted or not.
        read: a snapshot of it; `read` is then how many of the rows it takes.

    Raises:
        DataError: the data repository does not have the version.
    """
    dataset, _, number = name.rpartition("@v")
    history = {version.number: (version, deleted) for version, deleted in versions.history(settings, dataset)}
    if not number.isdecimal() or int(number) not in history:
        raise DataError(f"there is no {name} in {settings.data_repo}", "is it the home of another installation?")
    line = _ancestors(history[int(number)][0], [version for version, _ in history.values()])
    left, taken = Counter[int](), Counter[int]()  # rows by the version that brought them
    for span in holders.spans_of(settings, line[0]):
        left[span.version] += span.rows
        if read is None or read.reads(span.version, span.tags):
            taken[span.version] += span.rows
    return [
        TracedCommit(
            commit=version.commit,
            version=version.name,
            id=version.id,
            date=version.created,
            author=version.author,
            message=version.message,
            tags=version.tags,
            source=version.source,
            rows=left[version.number],
            read=taken[version.number],
            deleted=history[version.number][1],
            redacted=version.redacted,
        )
        for version in line
    ]


def _ancestors(version: DatasetVersion, known: list[DatasetVersion]) -> list[DatasetVersion]:
    """The version and those that it was made of, newest first: a version is made of the newest that was not deleted."""
    line = [version]
    for older in sorted(known, key=lambda v: v.number, reverse=True):
        if older.number < line[-1].number and older.id == line[-1].parent:
            line.append(older)
    return line


def _answered_by(settings: Settings, prediction: str) -> tuple[str, str] | None:
    row = prediction_log.find(settings, prediction)
    return (row.model, row.version) if row else None


def _code(tags: dict[str, str]) -> dict[str, str]:
    return {name.removeprefix("airloom."): value for name, value in tags.items() if name.startswith(Tag.CODE)}


def render(lineage: Lineage) -> str:
    """The chain as an indented tree."""
    model, run, dataset = lineage.model, lineage.run, lineage.dataset
    parameters = ", ".join(f"{name}={value}" for name, value in sorted(lineage.parameters.items()))
    code = ", ".join(f"{name}={value}" for name, value in sorted(lineage.code.items()))
    steps = [_prediction_line(lineage)] if lineage.prediction else []
    if lineage.batch and not lineage.prediction:
        steps.append(f"batch prediction {_batch_text(lineage.batch)}")
    if model:
        aliases = "".join(f" @{alias}" for alias in model.aliases)
        taken = f", taken over from {model.taken_from}" if model.taken_from else ""
        judged = ", not judged" if model.gate == NOT_JUDGED else ""
        answered = f"{model.predictions} predictions"
        steps.append(f"model {model.name} version {model.version}{aliases}, {answered}{judged}{taken}")
    elif lineage.models:
        steps.append(f"models {', '.join(lineage.models)}")
    steps += [
        _run_line(run),
        "; ".join(text for text in (f"parameters {parameters or '-'}", code) if text),
        *(_pretrained_line(name, weights) for name, weights in lineage.pretrained.items()),
        f"snapshot {lineage.snapshot}{_read_text(lineage.read)}",
        f"dataset {dataset.version} (id {dataset.id}){_redacted_text(dataset.redacted)}",
    ]
    lines = [f"{'  ' * depth}{'└ ' if depth else ''}{step}" for depth, step in enumerate(steps)]
    indent = "  " * len(steps)
    lines += [f"{indent}└ {_commit_line(commit)}" for commit in lineage.commits]
    return "\n".join([*lines, *([f"not found: {lineage.missing}"] if lineage.missing else [])])


def _prediction_line(lineage: Lineage) -> str:
    row = lineage.logged
    if lineage.batch:
        return f"prediction {lineage.prediction}: {_batch_text(lineage.batch)}"
    if row is None:
        return f"prediction {lineage.prediction}: its log row is not kept; the id names the version"
    return f"prediction {lineage.prediction}: {row.prediction} at {row.time.isoformat()} in {row.latency_ms:.2f} ms"


def _batch_text(batch: TracedBatch) -> str:
    kept = f", kept in {', '.join(batch.committed)}" if batch.committed else ""
    if batch.row is None:
        rows = f"split {batch.split} of {batch.dataset}" if batch.split else batch.dataset
        return f"{batch.run}: {batch.rows:,} rows of {rows}{kept}"
    brought = f", which {batch.brought_by} brought" if batch.brought_by else ""
    return f"row {batch.row} of {batch.dataset}{brought}; batch prediction {batch.run}{kept}"


def _run_line(run: TracedRun) -> str:
    training = f", training {run.train}" if run.train else ""
    study = "" if run.study != NOT_TUNED else f", {NOT_TUNED}"
    line = f"run {run.pipeline_run} (MLflow {run.parent}{training}){study}"
    return f"{line}, {run.kind} {run.id} {run.name}" if run.id not in ("", run.parent, run.train) else line


def _pretrained_line(name: str, weights: dict[str, Any]) -> str:
    return f"began with {name}: {weights['found']}, sha256 {weights['sha256'][:12]}"


def _read_text(read: ReadRows | None) -> str:
    if read is None:
        return ""
    rows = ", ".join(f"{name} {count}" for name, count in read.rows.items())
    filters = [f"since v{read.since}"] if read.since else []
    filters += [f"tags {' '.join(read.tags)}"] if read.tags else []
    return f": {rows}{''.join(f'; {text}' for text in filters)}"


def _redacted_text(rows: int) -> str:
    return f", REDACTED: {rows} of its rows were forgotten" if rows else ""


def _commit_line(commit: TracedCommit) -> str:
    source = f", from {commit.source}" if commit.source else ""
    read = f", {commit.read} read" if commit.read != commit.rows else ""
    deleted = ", version deleted" if commit.deleted else ""
    version = f"{commit.version} {commit.date} {commit.author}: {commit.message}"
    return f"commit {commit.commit[:12]} {version}; {commit.rows} rows{read}{deleted}{source}"
