"""What a finished training used, as MLflow and git have it."""

import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airloom import processing
from airloom.contracts import PretrainedWeights, Snapshot
from airloom.errors import ConfigError, RegistryError
from airloom.files import file_sha256
from airloom.golden import Golden
from airloom.names import ModelName
from airloom.project.checkout import check_out
from airloom.settings import Settings
from airloom.tracking import artifacts, runs
from airloom.tracking.tags import Tag
from airloom.training.reproducibility.provenance import MODULES

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


@dataclass(frozen=True)
class Past:
    """One training run of the past."""

    run: str
    function: str
    parameters: dict[str, Any]
    seed: int
    threads: str
    snapshot: Snapshot
    sha256: str  # of the file with the function
    commit: str  # of the project, "" where it was no repository
    changed: bool  # tracked files were not as in that commit
    untracked: str  # files that it read and that are in no commit
    weights: str  # digest, "" where none was recorded
    history: dict[str, dict[str, float]]
    inputs: dict[str, Any] = field(default_factory=dict)  # golden inputs by name, and the answers of each output
    answers: list[Any] = field(default_factory=list)
    pretrained: dict[str, PretrainedWeights] = field(default_factory=dict)  # that it began with
    named: bool = True  # the model keeps the names of its classes; those of earlier releases did not


def past_run(settings: Settings, target: str, candidate: str = "") -> Past:
    """Look up a training by its run, its pipeline's run, or its model: `digits/3`, `digits@champion`, `digits`.

    Args:
        settings: of this installation.
        target: what to look up.
        candidate: which of a pipeline run's candidates; empty where it had one only, or the target is a training.

    Raises:
        RegistryError: there is no such run or model, it trained nothing that can be trained again, or it had several
            candidates and none of them was named.
    """
    client = runs.client(settings)
    with runs.connection_errors(settings):
        run = _run_of(settings, client, target, candidate)
        tags = run.data.tags
        missing = [name for name in (Tag.CODE_FUNCTION, Tag.PARAMETERS, Tag.SNAPSHOT_RECORD) if name not in tags]
        if missing:
            hint = "it was written by an older version, or it is no training"
            raise RegistryError(f"run {run.info.run_id} does not say what it trained: no {missing[0]}", hint)
        names = [name for name in run.data.metrics if not name.startswith(("system/", "cost."))]
        history = {
            name: {str(m.step): m.value for m in client.get_metric_history(run.info.run_id, name)} for name in names
        }
        folder = _model(settings, tags)
        golden = Golden.parse((folder / artifacts.GOLDEN).read_bytes()) if folder else Golden({}, {})
        declared = folder / artifacts.PROCESSING if folder else None
        named = bool(declared and declared.exists() and processing.parse(declared.read_bytes()).classes)
    return Past(
        run=run.info.run_id,
        function=tags[Tag.CODE_FUNCTION],
        parameters=json.loads(tags[Tag.PARAMETERS]),
        seed=int(tags.get(Tag.SEED, "0")),
        threads=tags.get(Tag.THREADS, ""),
        snapshot=Snapshot.from_dict(json.loads(tags[Tag.SNAPSHOT_RECORD])),
        sha256=tags.get(Tag.CODE_SHA256, ""),
        commit=tags.get(Tag.CODE_COMMIT, ""),
        # A dirty tree without a file outside the commits is one whose tracked files were changed.
        changed=tags.get(Tag.CODE_DIRTY) == "true" and (Tag.CODE_DIFF in tags or Tag.CODE_UNTRACKED not in tags),
        untracked=tags.get(Tag.CODE_UNTRACKED, ""),
        weights=tags.get(Tag.WEIGHTS, ""),
        history=history,
        inputs=golden.inputs,
        answers=[answers.tolist() for answers in golden.outputs.values()],
        pretrained=pretrained(tags),
        named=named or folder is None,
    )


def pretrained(tags: dict[str, str]) -> dict[str, PretrainedWeights]:
    """The weights that a training began with, by its tags."""
    recorded = json.loads(tags.get(Tag.PRETRAINED, "{}"))
    return {name: PretrainedWeights.from_dict(one) for name, one in recorded.items()}


def _run_of(settings: Settings, client: "MlflowClient", target: str, candidate: str) -> "Run":
    from mlflow.exceptions import MlflowException

    name = target.removeprefix("models:/")
    hint = "give the id of a run, or a model as digits/3, digits@champion, or digits for the same"
    try:
        if re.fullmatch(r"[0-9a-f]{32}", name):
            return _training(client, client.get_run(name), candidate)
        asked = ModelName.match(name)
        if asked is None:
            raise RegistryError(f"{target[:100]!r} is no run and no model", hint)
        asked = asked.registered(settings.installation)
        if asked.version:
            version = client.get_model_version(asked.name, asked.version)
        else:
            version = client.get_model_version_by_alias(asked.name, asked.alias or "champion")
        return _only(client.get_run(version.run_id), candidate)
    except MlflowException as error:
        raise RegistryError(f"there is no run or model {target[:100]!r}: {str(error)[:200]}", hint) from None


def _training(client: "MlflowClient", run: "Run", candidate: str) -> "Run":
    """The run itself, or the training below a pipeline's run.

    Raises:
        RegistryError: below it are several candidates and none was named, or none of that name.
    """
    if Tag.CODE_FUNCTION in run.data.tags and Tag.PARAMETERS in run.data.tags:
        return _only(run, candidate)
    trainings = _trainings(client, run)
    if not trainings:
        return run
    names = ", ".join(sorted(trainings))
    if candidate and candidate not in trainings:
        hint = f"give one of these: {names}" if names else "leave --candidate out: it trained one model"
        raise RegistryError(f"run {run.info.run_id} has no candidate {candidate[:100]!r}", hint)
    if not candidate and len(trainings) > 1:
        options = " or ".join(f"--candidate {name}" for name in sorted(trainings))
        raise RegistryError(f"run {run.info.run_id} trained several candidates: {names}", f"say which: {options}")
    return trainings[candidate] if candidate else next(iter(trainings.values()))


def _trainings(client: "MlflowClient", run: "Run") -> "dict[str, Run]":
    """The training of each candidate of a pipeline run, by its name, "" where the pipeline has one only.

    A step that was cleared trained again: the newest training counts, and one that finished before one that did not.
    """
    taken = {name: client.get_run(run_id) for name, run_id in runs.reused(run, "train").items()}
    query = f"tags.`{Tag.PARENT}` = '{run.info.run_id}' and tags.`{Tag.KIND}` = 'train'"
    children = list(
        runs.pages(client.search_runs, [run.info.experiment_id], query, order_by=["attributes.start_time ASC"])
    )
    children.sort(key=lambda child: child.info.status == "FINISHED")  # keeps the order by time among equals
    return taken | {_candidate(run, child): child for child in children}


def _candidate(run: "Run", training: "Run") -> str:
    """Of `digits/manual__1/cnn/train/0`, a training of the pipeline run `digits/manual__1`: cnn."""
    own = str(training.data.tags.get(Tag.KEY, "")).removeprefix(f"{run.data.tags.get(Tag.KEY, '')}/")
    return str(training.data.tags.get(Tag.CANDIDATE) or own.rpartition("train/")[0].rstrip("/"))


def _only(training: "Run", candidate: str) -> "Run":
    """That training, unless somebody asks for one of several.

    Raises:
        RegistryError: a candidate was named.
    """
    if candidate:
        raise RegistryError(f"run {training.info.run_id} is one training, of one candidate", "leave --candidate out")
    return training


def _model(settings: Settings, tags: dict[str, str]) -> Path | None:
    """The files of the model that came of it, checked; None where it was never stored."""
    uri, digests = tags.get(Tag.MODEL_URI), json.loads(tags.get(Tag.DIGESTS, "{}"))
    if not uri or not digests:
        return None
    folder = settings.home / "cache" / "models" / artifacts.model_id(uri)
    return artifacts.fetch_model(settings, uri, digests, folder)


@contextmanager
def past_project(settings: Settings, past: Past) -> Iterator[tuple[Path, list[str]]]:
    """A folder with the code as it was, and what has to be said of it.

    The project as it is where the function's file is the same, else the recorded commit, else the recorded files; over
    both lie the run's own copies of the modules that it imported, some of which may be in no commit.

    Raises:
        ConfigError: the code is nowhere any more.
    """
    place = past.function.partition(":")[0]
    if not place.endswith(".py") or _digest(settings.project / place) == past.sha256:
        yield settings.project, []
        return
    with tempfile.TemporaryDirectory(prefix="airloom-code-") as folder:
        root = Path(folder)
        clean = past.commit and not past.changed and check_out(settings.project, past.commit, root)
        client = runs.client(settings)
        _copies(client, past, root)
        if clean and _digest(root / place) == past.sha256:
            missing = f" with the run's own copies of {past.untracked}" if past.untracked else ""
            yield root, [f"{place} has changed since; the code of commit {past.commit[:12]}{missing} was trained"]
            return
        target = root / place
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(Path(client.download_artifacts(past.run, f"source/{target.name}", folder)).read_bytes())
        if _digest(target) != past.sha256:
            raise ConfigError(
                f"the code of {past.function} is gone: no file has its digest", "restore it from a backup"
            )
        yield root, [f"{place} has changed since; the run's own copy was trained, with today's other files left out"]


def _copies(client: "MlflowClient", past: Past, root: Path) -> None:
    """The modules that the run imported, as they were; earlier releases kept none."""
    from mlflow.exceptions import MlflowException

    with tempfile.TemporaryDirectory(prefix="airloom-code-") as folder:
        try:
            modules = Path(client.download_artifacts(past.run, MODULES, folder))
        except (MlflowException, OSError):
            return
        shutil.copytree(modules, root, dirs_exist_ok=True)


def _digest(path: Path) -> str:
    return file_sha256(path) if path.is_file() else ""
