"""A version of another installation as a training of this one: its files checked, tried and copied, with its records.

Whatever becomes of the other installation's runs and files, this one has all that it serves and can say where it is
from.
"""

import json
import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from airloom.contracts import RunContext, TrainedModel
from airloom.errors import CorruptFile, RegistryError
from airloom.files import file_sha256
from airloom.registry import keys, models, signatures
from airloom.settings import Settings
from airloom.tracking import artifacts, runs
from airloom.tracking.tags import Tag

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

OWN = (Tag.KEY, Tag.KIND, Tag.CANDIDATE, Tag.MODEL_URI, Tag.DIGESTS)  # of a run: not another's
RECORDS = ("source", "environment")  # artifacts of a training, for `why` and `reproduce`
MEMORY, FACTOR = 512 * 2**20, 8  # bytes that any model may take when it is tried, and times the bytes of its files
SECONDS, PATIENCE = 20.0, 120.0  # of computing, and by the clock
MOST = 1000  # metrics in one request


def take_over(settings: Settings, ctx: RunContext, version: "ModelVersion") -> TrainedModel:
    """The version's model as the training of a run of this installation; again it is the same.

    Args:
        settings: of this installation.
        ctx: of the run that takes it over.
        version: of another installation.

    Raises:
        CorruptFile: a file differs from its recorded digest.
        RegistryError: the model cannot be loaded and asked, or its training is gone.
    """
    from airloom.training.export.store import stored_model

    api = runs.client(settings)
    with runs.connection_errors(settings):
        there = training_of(settings, version)
        known = runs.find_child(api, ctx, "train")
        if known and (model := stored_model(known)):
            return model
        with tempfile.TemporaryDirectory(prefix="airloom-foreign-") as name:
            folder = Path(name)
            digests = checked_files(settings, version, folder / "model")
            if problem := tried(version, folder / "model", digests):
                hint = "register one there that its own golden answers fit"
                raise RegistryError(f"{version.name}/{version.version} is not taken over: {problem}", hint)
            run = runs.ensure_child(api, ctx, "train", tags=_tags(version, there))
            _copy_records(api, there, run, folder)
            uri = _copy_model(api, ctx, run, folder, digests)
        done = {Tag.MODEL_URI: uri, Tag.DIGESTS: json.dumps(digests)}
        for tag, value in done.items():
            api.set_tag(run, tag, value)
        api.set_terminated(run, "FINISHED")  # last: a FINISHED run with these tags is a complete one
        parameters = json.loads(version.tags.get(Tag.PARAMETERS, "{}"))
        return TrainedModel(run, uri, digests, dict(there.data.metrics), parameters)


def training_of(settings: Settings, version: "ModelVersion") -> "Run":
    """The run that trained a version.

    Raises:
        RegistryError: it is gone, or the version does not name it.
    """
    from mlflow.exceptions import MlflowException

    try:
        return runs.client(settings).get_run(version.tags[Tag.TRAIN_RUN])
    except (KeyError, MlflowException) as error:
        if isinstance(error, MlflowException) and error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        message = f"nobody knows how {version.name}/{version.version} was trained: its run is gone"
        raise RegistryError(message, "take a version whose training MLflow still has") from None


def checked_files(settings: Settings, version: "ModelVersion", folder: Path) -> dict[str, str]:
    """Fetch the files of another installation's version; nothing of it is read before this has returned.

    Its installation must have signed it with a key that is trusted here: `airloom keys trust`.

    Returns:
        The sha256 of each file.

    Raises:
        SignatureRefused: it is not signed as it is, or by a key that is not trusted here.
        CorruptFile: a file differs from its recorded digest, is missing, or is not recorded.
        RegistryError: no digests are recorded.
    """
    signatures.verify_version(version, keys.trusted(settings))
    digests = models.digests_of(version)
    artifacts.fetch_model(settings, models.uri_of(version), digests, folder)
    return digests


def tried(version: "ModelVersion", folder: Path, digests: dict[str, str]) -> str:
    """What the server's checker, a process that may die of it, finds wrong with a model; empty where nothing is."""
    if find_spec("airloom_serving") is None:
        return "there is no airloom_serving here to try it with"
    size = sum((folder / name).stat().st_size for name in digests if name.startswith("extra_files/"))
    order = {"name": version.name, "version": str(version.version), "folder": str(folder), "digests": digests}
    # Neither tokens nor addresses: what it loads is not trusted.
    environment = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH") if name in os.environ}
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "airloom_serving.checker"],
            input=json.dumps(order | {"memory": MEMORY + FACTOR * size, "seconds": SECONDS}) + "\n",
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
            env=environment | {"OMP_NUM_THREADS": "1"},
        )
    except subprocess.TimeoutExpired:
        return f"it took more than {PATIENCE:g} s to load and to answer its example"
    answer = done.stdout.splitlines()
    return (
        str(json.loads(answer[0])["problem"]) if answer else f"the process that loaded it ended with {done.returncode}"
    )


def _tags(version: "ModelVersion", there: "Run") -> dict[str, str]:
    own = {tag: value for tag, value in there.data.tags.items() if tag.startswith("airloom.") and tag not in OWN}
    linked = {tag: version.tags[tag] for tag in (Tag.STUDY, Tag.JOB, Tag.PARAMETERS) if tag in version.tags}
    return own | linked | {Tag.FROM: f"{version.name}/{version.version}", Tag.FROM_RUN: there.info.run_id}


def _copy_records(api: "MlflowClient", there: "Run", run: str, folder: Path) -> None:
    """Parameters, metrics with their histories, source and environment."""
    from mlflow.entities import Metric

    runs.log_parameters(api, run, dict(there.data.params))
    for name in there.data.metrics:
        history = api.get_metric_history(there.info.run_id, name)
        values = [Metric(m.key, m.value, m.timestamp, m.step) for m in history]
        for at in range(0, len(values), MOST):
            api.log_batch(run, metrics=values[at : at + MOST])
    kept = {file.path for file in api.list_artifacts(there.info.run_id)}
    for name in kept & set(RECORDS):
        copied = folder / "records"
        copied.mkdir(exist_ok=True)
        api.log_artifacts(run, api.download_artifacts(there.info.run_id, name, str(copied)), name)


def _copy_model(api: "MlflowClient", ctx: RunContext, run: str, folder: Path, digests: dict[str, str]) -> str:
    """The address of a copy of the files; what MLflow hands back of it is what was checked.

    Raises:
        CorruptFile: it is not.
    """
    import mlflow

    for left in api.search_logged_models([ctx.experiment], filter_string=f"source_run_id = '{run}'"):
        api.delete_logged_model(left.model_id)  # of a process that was killed
    model = api.create_logged_model(ctx.experiment, name="model", source_run_id=run)
    api.log_model_artifacts(model.model_id, str(folder / "model"))
    api.finalize_logged_model(model.model_id, "READY")
    uri, back = f"models:/{model.model_id}", folder / "back"
    back.mkdir()
    got = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(back)))
    stored = {path.relative_to(got).as_posix(): file_sha256(path) for path in got.rglob("*") if path.is_file()}
    if differing := sorted(name for name in {*digests, *stored} if digests.get(name) != stored.get(name)):
        raise CorruptFile(f"the copy of the model differs in {', '.join(differing[:5])}", "promote it again")
    return uri
