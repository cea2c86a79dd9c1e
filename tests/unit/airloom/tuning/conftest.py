"""A real project, a real MLflow store, real trial processes; functions that need no data, so that they are quick."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from services.postgres import postgres
from services.trial_forks import Forks, forks

from airloom.contracts import RunContext, Snapshot
from airloom.settings import Settings
from airloom.spec.pipeline import Pipeline
from airloom.tracking import runs as mlflow_runs
from airloom.tuning.study import create, open_study
from airloom.tuning.worker import trial_process
from airloom.tuning.worker.main import work

MODEL = '''
import os, signal, sys, time
from pathlib import Path
import torch

def curve(run):
    """Rises over its steps towards a height that depends on x; goes on from its checkpoint."""
    done = {"steps": 0}
    for step in run.steps(int(run.params.get("steps", 3)), done=done):
        time.sleep(run.params.get("sleep", 0.0))
        done["steps"] += 1
        run.report(step, score=1 - (run.params["x"] - 0.3) ** 2 - 1 / (2 + step), loss=1 / (1 + step))

def two(run):
    run.report(0, accuracy=run.params["x"], latency_ms=10 * run.params["x"])

def raises(run):
    if run.params["x"] > run.params.get("limit", -1):
        raise ValueError("no such layer")
    run.report(0, score=0.5)

def babble(run):
    """Writes to the worker what is no message."""
    os.write(int(sys.argv[2]), b"hello\\n")

def silent(run):
    run.report(0, other=1.0)

def at(run):
    run.report(0, score=0.5, **{"hit@1": 0.5})

def nothing(run):
    return None

def nan(run):
    run.report(0, score=float("nan"))

def crash(run):
    """Ends its own process the first time that it is asked."""
    mark = Path(os.environ["AIRLOOM_HOME"]) / "crashed"
    for step in run.steps(3, done={}):
        if step == 1 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), getattr(signal, run.params["signal"]))
        run.report(step, score=step)

def always_crash(run):
    os.kill(os.getpid(), signal.SIGSEGV)

def hungry(run):
    kept = bytearray(int(run.params["x"] * 2**30))
    time.sleep(30)
    run.report(0, score=1.0)

def space(trial):
    layers = trial.suggest_int("layers", 1, 2)
    return {"layers": layers, "x": sum(trial.suggest_float(f"x{i}", 0, 1) for i in range(layers)) / layers}
'''
GATE = {"at_least": {"accuracy": 0.5}, "against_champion": {"metric": "accuracy", "non_inferior_by": 0.1}}
Make = Callable[..., Pipeline]


@pytest.fixture(scope="package")
def trial_forks() -> Iterator[Forks]:
    with forks() as made:
        yield made


@pytest.fixture
def _forked_trials(trial_forks: Forks, monkeypatch: pytest.MonkeyPatch) -> None:
    """The workers of the test's own process fork their trial processes; those of other processes start them."""
    monkeypatch.setattr(trial_process, "subprocess", SimpleNamespace(Popen=trial_forks.start))


@pytest.fixture
def settings(
    tmp_path: Path, make_home: Callable[[Path], Settings], monkeypatch: pytest.MonkeyPatch, _forked_trials: None
) -> Settings:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.setenv(name, "")  # client() writes them; this puts the old state back
    made = make_home(tmp_path)
    (made.project / "model.py").write_text(MODEL)
    for name, value in made.as_environment().items():  # for the trial processes
        monkeypatch.setenv(name, value)
    return made


def make_pipeline(train: str = "curve", trials: int = 4, parameters: dict | None = None, **tune: object) -> Pipeline:
    targets = {} if "objectives" in tune else {"objective": {"metric": "score"}}
    resources = tune.pop("resources", {})
    space = {} if "space_function" in tune else {"space": {"x": {"float": [0, 1]}}}
    return Pipeline.model_validate(
        {
            "pipeline": "small",
            "dataset": {"name": "small"},
            "train": f"model.py:{train}",
            "parameters": parameters or {},
            "resources": resources,
            "tune": {"trials": trials, "pruner": "none", "sampler": "random", **targets, **space, **tune},
            "gate": GATE,
        }
    )


@pytest.fixture
def make() -> Make:
    return make_pipeline


@pytest.fixture
def ctx(settings: Settings) -> RunContext:
    return context_of(settings, "small/manual__1")


def context_of(settings: Settings, key: str) -> RunContext:
    experiment, run = mlflow_runs.ensure_parent(settings, "small", key, {"who": "test"})
    snapshot = Snapshot("s", "small", 1, "v", "c", {"train": 0.6, "validation": 0.15, "test": 0.25}, {})
    return RunContext("small", {}, key, run, experiment, snapshot)


@pytest.fixture
def other(settings: Settings) -> Callable[[str], RunContext]:
    """The context of another run of the pipeline."""
    return lambda key: context_of(settings, key)


@pytest.fixture
def tune(settings: Settings, ctx: RunContext) -> Callable[[Pipeline], dict]:
    """Create the study and be its only worker."""

    def run(pipeline: Pipeline, context: RunContext = ctx, at: Settings = settings) -> dict:
        create(at, pipeline, context)
        return work(at, pipeline, context, 0)

    return run


@pytest.fixture
def rows(settings: Settings, ctx: RunContext) -> Callable[[], list]:
    """The study's rows, as plain Optuna has them."""
    return lambda at=settings, key=ctx.key: open_study(at, key).study.get_trials()


@pytest.fixture
def runs(settings: Settings, ctx: RunContext) -> Callable[..., list]:
    """The child runs of a kind, as plain MLflow has them."""
    return lambda kind="trial", context=ctx: mlflow_runs.children(mlflow_runs.client(settings), context, kind)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres() as address:
        yield address


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'slots.db'}"
    return str(request.getfixturevalue("server"))
