"""`save_model(serve="python")`: weights and the name of the class in a commit, whose code answers as the module did."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch  # noqa: TID253 - the modules of this file

from airloom.errors import AirloomError, ConfigError, CorruptFile, JobFailed
from airloom.golden import Golden
from airloom.project.functions import load_function
from airloom.signature import Signature
from airloom.training.export import session as session_module
from airloom.training.export.coded import Coded
from airloom.training.export.coded_export import AsPython, CodedModel, keep_code
from airloom.training.export.commit_code import check_class, paths_of
from airloom.training.export.example import Example
from airloom.training.export.onnx import export
from airloom.training.export.session import CodedFiles, PythonSession

pytestmark = pytest.mark.timeout(1800)
NET = """
import torch
from parts import steps

class Net(torch.nn.Module):
    \"\"\"Halves each row until it is small: how often, the row says.\"\"\"

    def __init__(self, width=3):
        super().__init__()
        self.layer = torch.nn.Linear(4, width)
        self.tied = self.layer
        self.register_buffer("shift", torch.zeros(width))

    def forward(self, x):
        return torch.stack([self.layer(row * 0.5 ** steps(row)) for row in x]) + self.shift

class OfBatch(Net):
    def forward(self, x):
        return super().forward(x) if x.sum() > 0 else -super().forward(x)

class Random(Net):
    def forward(self, x):
        return super().forward(x) + self.extra

    extra = 0.0

class Several(torch.nn.Module):
    def forward(self, ids, mask):
        found = [row[keep] for row, keep in zip(ids, mask)]
        return {"sums": torch.stack([row.sum() for row in found]).float(), "same": ids.float() * mask}

def local():
    class Inner(torch.nn.Module):
        pass
    return Inner()
"""
PARTS = """
def steps(row):
    n = 0
    while float(row.abs().max()) * 0.5 ** n > 1:
        n += 1
    return n
"""


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose training file has the classes, and imports another file."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "net.py").write_text(NET)
    (folder / "parts.py").write_text(PARTS)
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "first")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "parts", raising=False)
    yield folder
    sys.modules.pop("parts", None)


def made(project: Path, name: str = "Net", **arguments: object) -> torch.nn.Module:
    torch.manual_seed(0)
    return load_function(project, f"net.py:{name}")(**arguments).eval()


def keep(project: Path, model: torch.nn.Module, example: object, folder: Path, **arguments: object):
    folder.mkdir(exist_ok=True)
    return keep_code(model, example, folder, AsPython(arguments, project, git(project, "rev-parse", "HEAD")))


REFUSED = {
    "changed file": ("parts.py is not as in", "commit it"),
    "no commit": ("the project has none", "put the project under git"),
    "arguments": ("other weights than those that were trained", "arguments"),
    "missing argument": ("cannot be built by", "arguments"),
    "of the batch": ("answered otherwise alone than among seven", "decide for each row"),
    "state": ("does not answer as the trained module", "buffers"),
    "infinite": ("NaN or infinity", "training curves"),
    "of a library": ("which is not the project's", "wrap it in a class"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_could_not_be_answered_again_is_refused(project: Path, tmp_path: Path, case: str) -> None:
    x, arguments, model = torch.tensor([[1.0, 2, 3, 4], [-9, 8, -7, -6]]), {}, made(project)
    commit = git(project, "rev-parse", "HEAD")
    if case == "changed file":
        (project / "parts.py").write_text(PARTS + "\n# more\n")
    elif case == "no commit":
        commit = ""
    elif case == "arguments":
        model = made(project, width=5)
    elif case == "missing argument":
        arguments = {"depth": 3}
    elif case == "of the batch":
        model = made(project, "OfBatch")
    elif case == "state":
        model = made(project, "Random")
        model.extra = 1.0
    elif case == "infinite":
        model.layer.weight.data[:] = float("nan")
    else:
        model = torch.nn.Linear(4, 3)
    with pytest.raises(AirloomError) as refused:
        keep_code(model, x, tmp_path, AsPython(arguments, project, commit))
    message, hint = REFUSED[case]
    assert message in refused.value.message and hint in refused.value.hint


@pytest.mark.parametrize(
    ("model", "arguments", "says"),
    [
        (Path("a.onnx"), {}, "is for a module"),
        ("local", {}, "stands in no file"),
        ("Net", {"width": torch.zeros(1)}, "JSON does not keep"),
        ("Net", {"width": (1, 2)}, "JSON does not keep"),
        ("Net", {"width": float("nan")}, "JSON does not keep"),
    ],
)
def test_a_class_that_cannot_be_named_is_refused(project: Path, model: object, arguments: dict, says: str) -> None:
    given = made(project, model) if isinstance(model, str) else model
    with pytest.raises(ConfigError, match=says):
        check_class(given, arguments)


def interrupted(pipe: object) -> None:
    raise KeyboardInterrupt


def test_the_code_of_the_commit_answers_as_the_module_did(project: Path, tmp_path: Path, monkeypatch) -> None:
    x = torch.randn(5, 4) * 9
    model = made(project, width=5)
    with pytest.raises(JobFailed):
        export(model, x, tmp_path)
    kept = keep(project, model, x, tmp_path / "kept", width=5)
    expected = model(x).detach().numpy()
    assert kept.files.coded.code == "net.py:Net" and kept.files.coded.arguments == {"width": 5}
    assert Golden.parse(kept.golden.read_text()).rows == 2
    # Today's code is another one, and the class is gone: nothing of it is run.
    (project / "net.py").write_text("raise RuntimeError('today')")
    (project / "parts.py").unlink()
    session = PythonSession(CodedFiles(Coded.parse(kept.record.read_text()), *list(vars(kept.files).values())[1:]))
    np.testing.assert_allclose(session.run(None, {"input": x.numpy()})[0], expected, rtol=1e-6)
    assert str(Signature.of(session)) == "input: float32 (batch, 4) -> output: float32 (batch, 5)"
    with pytest.raises(JobFailed, match=r"does not take these rows"):
        session.run(None, {"input": np.zeros((2, 3), np.float32)})
    np.testing.assert_allclose(session.run(["output"], {"input": x.numpy()})[0], expected, rtol=1e-6)
    process, folder = session._process, Path(session._folder.name)
    assert process.poll() is None and folder.is_dir()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(session_module, "receive", interrupted)
        session.run(None, {"input": x.numpy()})
    with pytest.raises(JobFailed, match="ended with"):  # and never the answer to what was asked before
        session.run(None, {"input": x.numpy()})
    del session
    assert process.poll() is not None and not folder.exists()
    _damaged_and_lost(kept, tmp_path)


def _damaged_and_lost(kept: CodedModel, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with pytest.raises(ConfigError, match="does not have"):
        PythonSession(CodedFiles(kept.files.coded, kept.files.weights, kept.files.sha256, elsewhere))
    data = bytearray(kept.files.weights.read_bytes())
    data[-1] ^= 1
    kept.files.weights.write_bytes(bytes(data))
    with pytest.raises(JobFailed, match="damaged"):
        PythonSession(kept.files)
    # A record that names something else, as a signature of ours never would, runs nothing of it.
    for code, says in (("subprocess:Popen", "no class of a module"), ("torch.nn:Identity", "from elsewhere")):
        coded = Coded(**(vars(kept.files.coded) | {"code": code, "arguments": {}}))
        with pytest.raises(JobFailed, match=says):
            PythonSession(CodedFiles(coded, kept.files.weights, kept.files.sha256, kept.files.project))
    values = json.loads(kept.record.read_text())
    for wrong in (
        "[]",
        "{",
        json.dumps({**values, "code": 3}),
        json.dumps({**values, "commit": "main"}),
        json.dumps({**values, "inputs": 3}),
    ):
        with pytest.raises(CorruptFile, match="does not say which code"):
            Coded.parse(wrong)


def test_names_dtypes_and_open_dimensions(project: Path, tmp_path: Path) -> None:
    ids = torch.randint(0, 9, (3, 6))
    given = Example.of(
        {"ids": ids, "mask": ids > 2}, made(project, "Several"), {"ids": {1: "length"}, "mask": {1: "length"}}
    )
    kept = keep(project, made(project, "Several"), given, tmp_path / "kept")
    told = "ids: int64 (batch, length), mask: bool (batch, length) -> "
    told += "sums: float32 (batch,), same: float32 (batch, length)"
    assert str(kept.files.coded.signature) == told


def test_a_class_of_a_package_below_a_folder(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = project / "src" / "shop_of_nets"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "layers.py").write_text("import torch\nclass Layer(torch.nn.Linear):\n    pass\n")
    text = "import torch\nfrom .layers import Layer\nclass Net(torch.nn.Module):\n    def __init__(self):\n"
    text += "        super().__init__()\n        self.layer = Layer(4, 2)\n    def forward(self, x):\n"
    (package / "net.py").write_text(f"{text}        return self.layer(x)\n")
    git(project, "add", ".")
    git(project, "commit", "-qm", "package")
    monkeypatch.syspath_prepend(str(project / "src"))
    module = importlib.import_module("shop_of_nets.net")
    kept = keep(project, module.Net().eval(), torch.randn(2, 4), tmp_path / "kept")
    assert (kept.files.coded.code, kept.files.coded.path) == ("shop_of_nets.net:Net", "src")
    (package / "layers.py").write_text("raise RuntimeError('today')")
    PythonSession(kept.files)  # the installed path leads to today's files, and is not followed


def test_the_project_s_own_folders_are_those_of_the_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    today, then = tmp_path / "project", tmp_path / "then"
    environment = today / "env" / "lib"
    monkeypatch.setattr(sys, "prefix", str(today / "env"))
    monkeypatch.setattr(sys, "path", ["", str(today / "src"), str(environment), "/elsewhere"])
    assert paths_of(today, then, "lib") == [
        *map(str, (then / "src", environment)),
        "/elsewhere",
        *map(str, (then / "lib", then)),
    ]


class Exponential(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.matrix_exp(x[:, :, None] * x[:, None, :])


class Branches(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (Exponential(), "no operation for aten.linalg_matrix_exp"),
        (Branches(), r"data-dependent expression .*test_coded.py:\d+"),
    ],
)
def test_an_export_says_which_operation_onnx_lacks_and_what_else_there_is(tmp_path, model, says: str) -> None:
    with pytest.raises(JobFailed, match=says) as refused:
        export(model.eval(), torch.randn(2, 4), tmp_path)
    assert 'serve="python"' in refused.value.hint
