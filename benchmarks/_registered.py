"""A registered model that nobody trained: `python -m benchmarks._registered NAME FOLDER` makes it the champion, too."""

import shutil
import sys
from pathlib import Path

from airloom.settings import Settings, load


def register(settings: Settings, name: str, graph: Path, dataset: str = "drawn") -> str:
    """As training and the step `register` do it, without a training; its name and version, `name/1`.

    Args:
        settings: of the installation.
        name: of the pipeline, and of the model.
        graph: the folder with `model.onnx` and `golden.json`.
        dataset: that it is said to have been trained on.
    """
    import mlflow

    from airloom.contracts import Decision, Evaluation, RunContext, Snapshot, TrainedModel
    from airloom.files import file_sha256
    from airloom.registry.register import register as step
    from airloom.spec.pipeline import Pipeline
    from airloom.tracking import runs

    api = runs.client(settings)
    values = {"pipeline": name, "dataset": {"name": dataset}, "train": "model.py:train"}
    Pipeline.model_validate(values)
    experiment, run = runs.ensure_parent(settings, name, f"{name}/bench", {})
    ctx = RunContext(name, values, f"{name}/bench", run, experiment, Snapshot("s", dataset, 1, "v", "c", {}, {}))
    training = runs.ensure_child(api, ctx, "train")
    folder = settings.home / "made" / name
    shutil.copytree(graph, folder / "extra_files")
    (folder / "MLmodel").write_text("flavors: {}\n")
    logged = api.create_logged_model(experiment, name="model", source_run_id=training)
    api.log_model_artifacts(logged.model_id, str(folder))
    api.finalize_logged_model(logged.model_id, "READY")
    back = Path(mlflow.artifacts.download_artifacts(artifact_uri=f"models:/{logged.model_id}"))
    digests = {str(file.relative_to(back)): file_sha256(file) for file in back.rglob("*") if file.is_file()}
    trained = TrainedModel(training, f"models:/{logged.model_id}", digests, {}, {})
    nobody = Decision(False, ["no gate"], "", None, judged=False)
    made = step(settings, ctx, trained, Evaluation({"accuracy": 0.1}, "", {}, "", 1), nobody)
    return f"{made.model}/{made.version}"


if __name__ == "__main__":
    from airloom.deployment.record import deploy

    _, of_pipeline, place = sys.argv
    settings = load()
    settings.make_home()
    registered, _, version = register(settings, of_pipeline, Path(place)).rpartition("/")
    deploy(settings, registered, version)
