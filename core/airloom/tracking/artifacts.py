"""Model files from MLflow, checked against the registry's digests before anything parses them."""

import hashlib
import shutil
import uuid
from pathlib import Path

from airloom.errors import CorruptFile, RegistryError
from airloom.files import file_sha256
from airloom.names import logged_model
from airloom.settings import Settings
from airloom.tracking import runs

ONNX = "extra_files/model.onnx"
GOLDEN = "extra_files/golden.json"
PROCESSING = "extra_files/processing.json"
PYTHON = "extra_files/python.json"  # in place of a graph: which code of which commit answers, see ADR 52
WEIGHTS = "extra_files/model.safetensors"


def model_id(uri: str) -> str:
    """The name of a model's files, `m-…`, of their address in MLflow. A cache may call its folder so.

    The address comes from a tag that anybody who reaches MLflow may write. Any other form than `models:/m-<hex>` would
    let a tag say which folder of ours is replaced, or which file of this machine is read.

    Raises:
        RegistryError: it has another form.
    """
    name = logged_model(uri)
    if name is None:
        hint = "register the model again; an address is models:/m- and 32 hexadecimal digits"
        raise RegistryError(f"{uri[:200]!a} is no address of a model's files", hint)
    return name


def fetch_model(settings: Settings, uri: str, digests: dict[str, str], folder: Path) -> Path:
    """The model's files in `folder`, each with its recorded sha256; a damaged cached copy is fetched once more.

    Args:
        settings: of this installation.
        uri: the model's address in MLflow.
        digests: the recorded sha256 of each file, by path.
        folder: where the files go.

    Raises:
        CorruptFile: a file in the store differs from its digest, is missing, or is not recorded.
        RegistryError: the address is none of a model, or MLflow does not answer.
    """
    model_id(uri)
    if not digests:
        raise RegistryError(
            f"no digests are recorded for {uri}", "register it with Airloom; nothing unchecked is loaded"
        )
    if folder.is_dir() and not damage(folder, digests):
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    fresh = folder.with_name(f"{folder.name}.{uuid.uuid4().hex}")
    try:
        _download(settings, uri, fresh)
        if problem := damage(fresh, digests):
            raise CorruptFile(f"{uri}: {problem}", "restore the artifact store, or deploy another version")
        try:
            fresh.rename(folder)
        except OSError:  # another process was faster
            if damage(folder, digests):
                raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return folder


def read_checked(folder: Path, name: str, digests: dict[str, str]) -> bytes:
    """A file's bytes, and those very bytes have the recorded digest: what is parsed is what was checked.

    Raises:
        CorruptFile: they have not, or there is no such file.
    """
    try:
        data = (folder / name).read_bytes()
    except OSError as error:
        raise CorruptFile(f"{folder / name} cannot be read: {error.strerror}", "restore the artifact store") from None
    if hashlib.sha256(data).hexdigest() != digests.get(name):
        raise CorruptFile(f"{folder / name} is damaged: its sha256 is not the recorded one", "fetch it again")
    return data


def _download(settings: Settings, uri: str, folder: Path) -> None:
    runs.client(settings)
    import mlflow

    folder.mkdir(parents=True)
    with runs.connection_errors(settings):
        where = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(folder)))
    if where.resolve() != folder.resolve():  # some stores put a folder of their own below
        for entry in where.iterdir():
            entry.rename(folder / entry.name)
        where.rmdir()


def damage(folder: Path, digests: dict[str, str]) -> str:
    """The first file that is not what it should be; empty when all are."""
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    for name, digest in digests.items():
        if name not in present:
            return f"{name} is missing"
        actual = file_sha256(folder / name)
        if actual != digest:
            return f"{name} is damaged: its sha256 is {actual[:12]}…, not {digest[:12]}…"
    unknown = sorted(present - set(digests))
    return f"{unknown[0]} is not recorded in the registry" if unknown else ""
