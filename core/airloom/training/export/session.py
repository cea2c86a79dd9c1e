"""A Python model asked as ONNX Runtime's sessions are: its code of the recorded commit, in a process of its own."""

import os
import subprocess
import sys
import tempfile
import threading
import weakref
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from airloom.errors import ConfigError, JobFailed
from airloom.files import file_sha256
from airloom.project.checkout import check_out
from airloom.signature import Port
from airloom.tracking import artifacts
from airloom.training.export.coded import Coded
from airloom.training.export.wire import receive, send

Array = np.ndarray[Any, Any]
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class CodedFiles:
    """What a session is made of.

    Attributes:
        coded: which code answers.
        weights: a file of safetensors.
        sha256: of it.
        project: whose repository has the commit.
    """

    coded: Coded
    weights: Path
    sha256: str
    project: Path

    @classmethod
    def of(cls, folder: Path, digests: dict[str, str], project: Path) -> "CodedFiles":
        """Of a stored model.

        Args:
            folder: with its files.
            digests: their recorded sha256, by path.
            project: whose repository has the commit.

        Raises:
            CorruptFile: a file is damaged, or missing.
        """
        coded = Coded.parse(artifacts.read_checked(folder, artifacts.PYTHON, digests))
        return cls(coded, folder / artifacts.WEIGHTS, digests.get(artifacts.WEIGHTS, ""), project)

    @classmethod
    def made(cls, coded: Coded, weights: Path, project: Path) -> "CodedFiles":
        """Of files that were just written."""
        return cls(coded, weights, file_sha256(weights), project)

    @property
    def size(self) -> int:
        """Bytes of the weights."""
        return self.weights.stat().st_size


class PythonSession:
    """Has the methods of an `onnxruntime.InferenceSession` that we use.

    Its process ends with it, and at the latest with the process that made it.

    Args:
        files: what it is made of.
        threads: of torch.

    Raises:
        ConfigError: torch is not installed here, or the repository does not have the commit.
        JobFailed: the commit's code does not build the module.
    """

    def __init__(self, files: CodedFiles, threads: int = 1) -> None:
        coded = files.coded
        for package in ("torch", "safetensors"):
            if find_spec(package) is None:
                message = f"{package} is not installed here, and this model is Python code that needs it"
                raise ConfigError(message, "pip install 'airloom[training]', and what the project's code imports")
        self._signature, self._lock, self._code = coded.signature, threading.Lock(), coded.code
        self._folder = tempfile.TemporaryDirectory(prefix="airloom-code-")
        root = Path(self._folder.name).resolve()
        if not check_out(files.project, coded.commit, root):
            message = f"this model is {coded.code} of commit {coded.commit[:12]}, which {files.project} does not have"
            raise ConfigError(
                message, "fetch the commit there (`git fetch`), or set AIRLOOM_PROJECT to a clone that has it"
            )
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "airloom.training.export.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=root,
            env=os.environ | dict.fromkeys(_THREADS, str(threads)),
        )
        weakref.finalize(self, _end, self._process, self._folder)
        names = {"code": coded.code, "path": coded.path, "arguments": coded.arguments}
        names |= {"root": str(root), "project": str(files.project)}
        self._ask({"build": names | {"weights": str(files.weights), "sha256": files.sha256}, "by_name": coded.by_name})

    def get_inputs(self) -> list[Any]:
        """As ONNX Runtime tells of them."""
        return [_node(port) for port in self._signature.inputs]

    def get_outputs(self) -> list[Any]:
        """Likewise."""
        return [_node(port) for port in self._signature.outputs]

    def run(self, names: list[str] | None, inputs: dict[str, Array], options: Any = None) -> list[Array]:
        """What the module answers.

        Args:
            names: of the outputs; None: all.
            inputs: (n, …) by name.
            options: of ONNX Runtime, which mean nothing here.

        Raises:
            JobFailed: it raised, answers otherwise than it says, or its process is gone.
        """
        del options
        order = [port.name for port in self._signature.inputs]
        outputs = self._ask({"inputs": order}, {name: inputs[name] for name in order})
        wanted = names or [port.name for port in self._signature.outputs]
        if missing := [name for name in wanted if name not in outputs]:
            raise JobFailed(f"{self._code} answered without its output {missing[0]!a}", "register the model again")
        return [outputs[name] for name in wanted]

    def _ask(self, told: dict[str, Any], arrays: dict[str, Array] | None = None) -> dict[str, Array]:
        assert self._process.stdin is not None and self._process.stdout is not None  # noqa: S101 - pipes, see above
        with self._lock:
            try:
                send(self._process.stdin, told, arrays)
                answer = receive(self._process.stdout)
            except (BrokenPipeError, ValueError):
                answer = None
            except BaseException:  # Ctrl-C: what it says next would be the answer to another question
                self._process.kill()
                raise
        if answer is None:
            self._process.kill()
            code = self._process.wait()
            raise JobFailed(f"the process of {self._code} ended with {code}", "what it printed may say why")
        if "error" in answer[0]:
            raise JobFailed(answer[0]["error"], answer[0]["hint"])
        return answer[1]


def _end(process: "subprocess.Popen[bytes]", folder: "tempfile.TemporaryDirectory[str]") -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    folder.cleanup()


def _node(port: Port) -> Any:
    kind = {"float32": "float", "float64": "double"}.get(port.dtype, port.dtype)
    return SimpleNamespace(name=port.name, type=f"tensor({kind})", shape=list(port.shape))
