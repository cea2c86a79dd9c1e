"""One version as a Bento of its own: graph, processing, golden answers and the code of the model server.

A folder is laid out as `bentoml build` wants it, which then puts it into BentoML's store; nothing of ours is needed
where it runs, neither registry nor state folder. The signature is verified here; there, digests and golden answers.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Self

from airloom.contracts import Record
from airloom.errors import ConfigError, CorruptFile, RegistryError
from airloom.files import read_json
from airloom.names import owner_of, shown_model
from airloom.settings import Settings
from airloom.tracking.artifacts import GOLDEN, ONNX, PROCESSING
from airloom.version import __version__

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

MANIFEST = "package.json"
TOKEN = "AIRLOOM_SERVER_TOKEN"  # noqa: S105 - a variable's name
# What the server imports where it serves a package; the rest of our dependencies is for other roles.
PACKAGES = (
    *("bentoml", "httptools", "numpy", "onnxruntime", "orjson", "pillow", "pydantic", "scipy", "sqlalchemy"),
    *("tokenizers", "uvicorn", "uvloop"),
)
_MODULES = ("airloom", "airloom_serving")
_SERVICE = '''"""{title}, served as Airloom's model server does. Made by `airloom package`."""

from pathlib import Path

import bentoml

from airloom_serving.behind import OPTIONS, Behind, Predicting
from airloom_serving.packaged import Packaged


@bentoml.service(name={name!r}, service_class=Behind, envs=[{{"name": {token!r}}}], **OPTIONS)
class Model(Predicting):
    """{title}."""

    server = Packaged(Path(__file__).parent / "model")
'''
_README = """# {title}

Made by `airloom package` of Airloom {airloom}. It answers as Airloom's model server does, and needs neither a registry
nor a state folder. `{token}` in its environment is the token that requests bring as `Authorization: Bearer …`.

    {token}=… bentoml serve {tag}
    bentoml containerize {tag}

Digests and golden answers of the model are tried at its start; `/readyz` answers 503 where they differ, and the log
says why. Predictions have ids that `airloom trace` follows, and are neither counted nor logged.
"""


@dataclass(frozen=True)
class Manifest(Record):
    """Which version a package holds."""

    model: str  # as the registry has it
    version: str
    installation: str  # whose it is
    digests: dict[str, str]  # sha256 of each file, by path
    airloom: str  # that made it

    @classmethod
    def of(cls, version: "ModelVersion", digests: dict[str, str]) -> Self:
        """That of a version whose files have these digests; what is kept for trainers only is left out."""
        files = {file: digests[file] for file in (ONNX, GOLDEN, PROCESSING) if file in digests}
        return cls(version.name, str(version.version), owner_of(version.name), files, __version__)

    @property
    def shown(self) -> str:
        """The model's name as its clients write it."""
        return shown_model(self.model, self.installation)


@dataclass(frozen=True)
class Packed(Record):
    """What was made."""

    tag: str  # in BentoML's store
    model: str
    version: str
    output: str = ""  # where it was exported to


def read(folder: Path) -> Manifest:
    """What a package's folder says that it holds.

    Raises:
        CorruptFile: it is damaged.
    """
    hint = "build the package anew: `airloom package`"
    values = read_json(folder / MANIFEST, hint)
    try:
        return Manifest.from_dict(values or {})
    except TypeError as error:
        raise CorruptFile(f"{folder / MANIFEST} is damaged: {error}", hint) from None


def package(settings: Settings, version: "ModelVersion", say: Callable[[str], None], output: Path | None) -> Packed:
    """Build a Bento of a version, in BentoML's store.

    Args:
        settings: of this installation.
        version: of a registered model.
        say: gets a line for each step.
        output: where it is exported to: a file that ends with `.bento`, or a folder; None: nowhere.

    Raises:
        SignatureRefused: nobody who is trusted here vouches for it.
        CorruptFile: a file is damaged.
        RegistryError: it is a Python model, MLflow does not answer, or BentoML does not build or export.
        ConfigError: BentoML is not installed, or there is something at `output` already.
    """
    from airloom.registry import model_files, python_models

    if find_spec("bentoml") is None or find_spec("airloom_serving") is None:
        raise ConfigError("BentoML, which builds packages, is not installed here", "pip install 'airloom[serving]'")
    if output is not None and output.exists():
        raise ConfigError(f"there is something at {output} already", "name a file or folder that is not there yet")
    python_models.check_served(settings, version)
    folder, digests = model_files.fetch_signed(settings, version, settings.home / "cache" / "models")
    manifest = Manifest.of(version, digests)
    tag = f"{_bento_name(manifest.shown)}:{manifest.version}"
    say(f"building {tag} of {manifest.shown} version {manifest.version}")
    with tempfile.TemporaryDirectory(prefix="airloom-package-") as place:
        lay_out(Path(place), folder, manifest, tag)
        _bentoml("build", "--version", manifest.version, ".", where=Path(place), tag=tag)
    if output is not None:
        _bentoml("export", tag, str(output.resolve()), where=Path.cwd(), tag=tag)
    return Packed(tag, manifest.shown, manifest.version, str(output) if output else "")


def lay_out(place: Path, folder: Path, manifest: Manifest, tag: str) -> None:
    """Write what `bentoml build` builds.

    Args:
        place: a folder that is empty.
        folder: with the model's files.
        manifest: of them.
        tag: of the Bento.
    """
    import yaml

    title = f"{manifest.shown} version {manifest.version}"
    for file in manifest.digests:
        (target := place / "model" / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / file, target)
    (place / "model" / MANIFEST).write_text(json.dumps(manifest.to_dict(), indent=1))
    compiled = shutil.ignore_patterns("__pycache__", "*.pyc")
    for module in _MODULES:
        found = find_spec(module)
        assert found is not None and found.origin is not None  # noqa: S101 - `package` has looked for both
        shutil.copytree(Path(found.origin).parent, place / module, ignore=compiled)
    name = tag.partition(":")[0]
    (place / "service.py").write_text(_SERVICE.format(title=title, name=name, token=TOKEN))
    (place / "README.md").write_text(_README.format(title=title, airloom=__version__, token=TOKEN, tag=tag))
    build = {
        "service": "service:Model",
        "name": name,
        "labels": {"airloom.model": manifest.shown, "airloom.version": manifest.version},
        "include": ["*"],
        "exclude": ["__pycache__/", "*.pyc"],
        # Without a lock: that would ask a package index.
        "python": {"packages": [f"{one}=={metadata.version(one)}" for one in PACKAGES], "lock_packages": False},
    }
    (place / "bentofile.yaml").write_text(yaml.safe_dump(build, sort_keys=False))


def _bento_name(model: str) -> str:
    """A model's name in the letters that BentoML takes."""
    return re.sub(r"[^a-z0-9._-]", "-", model.lower()).strip("-._") or "model"


def _bentoml(*arguments: str, where: Path, tag: str) -> None:
    # BentoML 1.4 describes the image of a Bento with uv, which it installs into this very Python where it is missing;
    # a Bento without that description has a Dockerfile all the same.
    own = {"BENTOML_ENABLE_FEATURES": "no_image", "BENTOML_DO_NOT_TRACK": "True", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "bentoml", *arguments]
    done = subprocess.run(command, cwd=where, env=os.environ | own, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        hint = f"where {tag} is there already: `bentoml delete {tag}`"
        raise RegistryError(f"`bentoml {arguments[0]}` failed: {' '.join(lines[-3:])[-500:]}", hint)
