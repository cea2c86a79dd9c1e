"""Small real things that several parts test with: a home, a dataset, ONNX models, a registry."""

import hashlib
import json
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from airloom.contracts import Decision, Evaluation, RegisteredVersion, RunContext, Snapshot, TrainedModel
from airloom.settings import Settings
from airloom.spec.pipeline import Pipeline

SPLIT = {"train": 0.6, "validation": 0.15, "test": 0.25}
PASSED = Decision(True, ["passed: accuracy 1.0000, at least 0.5"], "gate/evidence.json", None)


def pipeline_of(name: str) -> Pipeline:
    return Pipeline.model_validate(
        {
            "pipeline": name,
            "dataset": {"name": "digits", "split": SPLIT},
            "train": "model.py:train",
            "tune": {"trials": 1, "objective": {"metric": "accuracy"}, "space": {"width": {"int": [4, 8]}}},
            "gate": {
                "at_least": {"accuracy": 0.5},
                "first_model": "minimums",
                "against_champion": {"non_inferior_by": 0.05, "resamples": 500},
            },
        }
    )


def tiny_onnx(path: Path, wrong: tuple[int, ...], columns: int = 8) -> None:
    """A linear model that answers with the brightest of the first ten pixels; `wrong` classes get the next digit."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = np.zeros((8 * columns, 10), np.float32)
    for digit in range(10):
        weights[digit, (digit + 1) % 10 if digit in wrong else digit] = 8
    nodes = [helper.make_node("Flatten", ["input"], ["flat"]), helper.make_node("MatMul", ["flat", "w"], ["output"])]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 1, 8, columns])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 10])],
        [numpy_helper.from_array(weights, "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)
    inputs = np.eye(8 * columns, dtype=np.float32)[:3].reshape(3, 1, 8, columns)
    golden = {"inputs": inputs.tolist(), "outputs": (inputs.reshape(3, -1) @ weights).tolist()}
    (path.parent / "golden.json").write_text(json.dumps(golden))


@dataclass
class World:
    """One model's pipeline in a home: each test takes a name of its own."""

    settings: Settings
    pipeline: Pipeline
    snapshot: Snapshot

    def ctx(self, key: str = "manual__1") -> RunContext:
        from airloom.tracking import runs

        name = self.pipeline.pipeline
        kept = self.settings.kept(f"{name}/{key}")
        experiment, run = runs.ensure_parent(self.settings, name, kept, {})
        spec = self.pipeline.model_dump(mode="json", by_alias=True, exclude_unset=True)
        return RunContext(name, spec, kept, run, experiment, self.snapshot)

    def train(
        self, ctx: RunContext, wrong: tuple[int, ...] = (), spoil_golden: bool = False, columns: int = 8
    ) -> TrainedModel:
        """Log a tiny model in a child run, as training does, without torch."""
        folder = self.settings.home / "made" / uuid.uuid4().hex / "extra_files"
        folder.mkdir(parents=True)
        tiny_onnx(folder / "model.onnx", wrong, columns)
        if spoil_golden:
            golden = {"inputs": np.zeros((1, 1, 8, 8)).tolist(), "outputs": np.ones((1, 10)).tolist()}
            (folder / "golden.json").write_text(json.dumps(golden))
        return self.log(ctx, folder.parent)

    def log(self, ctx: RunContext, folder: Path) -> TrainedModel:
        """The same of files that are there: `extra_files` with model.onnx, golden.json and perhaps processing.json."""
        import mlflow

        from airloom.tracking import runs

        client = runs.client(self.settings)
        run = runs.ensure_child(client, ctx, "train", tags={"airloom.code.sha256": "c0de"})
        runs.log_parameters(client, run, {"width": 8})
        back = folder.with_name(f"{folder.name}-back")
        back.mkdir(parents=True)
        (folder / "MLmodel").write_text("flavors: {}\n")
        model = client.create_logged_model(ctx.experiment, name="model", source_run_id=run)
        client.log_model_artifacts(model.model_id, str(folder))
        client.finalize_logged_model(model.model_id, "READY")
        # What MLflow hands back, as training does it: a file of MLflow's own is among it.
        got = Path(mlflow.artifacts.download_artifacts(artifact_uri=f"models:/{model.model_id}", dst_path=str(back)))
        files = [path for path in got.rglob("*") if path.is_file()]
        digests = {p.relative_to(got).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
        return TrainedModel(run, f"models:/{model.model_id}", digests, {"accuracy": 1.0}, {"width": 8})

    def register(
        self, key: str, wrong: tuple[int, ...] = (), spoil_golden: bool = False, columns: int = 8
    ) -> RegisteredVersion:
        ctx = self.ctx(key)
        return self.register_trained(ctx, self.train(ctx, wrong, spoil_golden, columns))

    def register_trained(self, ctx: RunContext, trained: TrainedModel) -> RegisteredVersion:
        """As the step `register` does, after a gate that let it pass."""
        from airloom.registry import register as registry

        evaluation = Evaluation({"accuracy": 1.0}, "", {}, "evaluation/predictions.parquet", 10)
        return registry.register(self.settings, ctx, trained, evaluation, PASSED)

    def store_file(self, uri: str, name: str = "model.onnx") -> Path:
        """Where the artifact store keeps a model's file, to damage it."""
        (found,) = (self.settings.home / "mlflow").glob(f"**/{uri.rpartition('/')[2]}/artifacts/**/{name}")
        return found


@pytest.fixture(scope="session", autouse=True)
def _mlflow_environment() -> Iterator[None]:
    """`tracking.client` writes both; each other test starts from the old state again."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
            patch.setenv(name, "")
        yield


@pytest.fixture(scope="session")
def make_home(migrated: Path) -> Callable[[Path], Settings]:
    def make(folder: Path) -> Settings:
        (folder / "home" / "mlflow").mkdir(parents=True)
        shutil.copy(migrated, folder / "home" / "mlflow" / "mlflow.db")
        (folder / "project").mkdir()
        return Settings(home=folder / "home", project=folder / "project", tracking_uri="")

    return make


@pytest.fixture(scope="session")
def shared_home(make_home: Callable[[Path], Settings], tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return make_home(tmp_path_factory.mktemp("shared"))


@pytest.fixture(scope="session")
def digits(shared_home: Settings) -> Snapshot:
    """A committed dataset of two versions; pixel i is bright where the label is i."""
    from airloom.datasets.commit import commit
    from airloom.datasets.ingest.images import image_table
    from airloom.datasets.snapshots import snapshot

    suite = Path(__file__).parents[2] / "configs" / "expectations" / "digits.json"
    generator = np.random.default_rng(0)
    for message in ("first batch", "second batch"):
        labels = generator.integers(0, 10, 400)
        images = generator.uniform(0, 0.5, (400, 64)).astype(np.float32)
        images[np.arange(400), labels] = 1
        table = image_table(images.reshape(-1, 1, 8, 8), labels)
        version = commit(shared_home, "digits", table, message=message, author="Ada", suite=suite)
    return snapshot.prepare(shared_home, version, SPLIT)


@pytest.fixture
def world(shared_home: Settings, digits: Snapshot, request: pytest.FixtureRequest) -> World:
    """A pipeline with a name of its own in the home that all tests share, with a real dataset."""
    name = f"m{hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:12]}"
    return World(shared_home, pipeline_of(name), digits)


@pytest.fixture(scope="session")
def make_world() -> Callable[[Settings, str], World]:
    """A pipeline in a home without a dataset."""

    def make(settings: Settings, name: str) -> World:
        snapshot = Snapshot("s1", "digits", 1, "v1", "c1", SPLIT, {})
        return World(settings, pipeline_of(name), snapshot)

    return make


@pytest.fixture
def small(make_home: Callable[[Path], Settings], make_world: Callable[[Settings, str], World], tmp_path: Path) -> World:
    """A pipeline `small` with a registry of its own."""
    return make_world(make_home(tmp_path), "small")


@pytest.fixture(scope="session", name="tiny_onnx")
def _tiny_onnx() -> Callable[[Path, tuple[int, ...]], None]:
    """Write the tiny model, and its golden answers beside it."""
    return tiny_onnx
