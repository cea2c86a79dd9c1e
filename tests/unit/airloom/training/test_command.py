"""Programs that know nothing of Airloom: they read variables and write files."""

import threading
import time

import mlflow  # noqa: TID253 - a test of MLflow code
import numpy as np
import pytest

from airloom.errors import ConfigError, JobFailed
from airloom.tracking import runs
from airloom.training.command import _example
from airloom.training.stopping import Budget
from airloom.training.train import train

SCRIPT = """
import json, os, sys
import numpy as np
out = os.environ["AIRLOOM_OUTPUT"]
data = {name: np.load(f"{os.environ['AIRLOOM_DATA']}/{name}.npz") for name in ("train", "validation")}
assert data["train"]["inputs"].shape == (128, 1, 8, 8) and data["validation"]["labels"].shape == (64,)
known = json.load(open(os.environ["AIRLOOM_DATA"] + "/classes.json"))
assert known == [str(n) for n in range(1 + int(max(part["labels"].max() for part in data.values())))]
assert json.load(open(os.environ["AIRLOOM_PARAMS"]))["lr"] == float(os.environ["AIRLOOM_PARAM_LR"]) == 0.1
with open(out + "/metrics.jsonl", "a") as file:
    for step in range(3):
        print(json.dumps({"step": step, "loss": 1 / (step + 1), "note": "text"}), file=file, flush=True)
if os.environ["AIRLOOM_PARAM_FAIL"] != "0" and not os.path.exists(out + "/begun"):
    open(out + "/begun", "w").close()
    sys.exit(int(os.environ["AIRLOOM_PARAM_FAIL"]))
json.dump({"accuracy": 0.75, "lr": [0.1, 0.05]}, open(out + "/metrics.json", "w"))
"""
ONNX = (
    SCRIPT
    + """
import shutil
shutil.copy("model.onnx", out)
"""
)
PROGRAM = (
    SCRIPT
    + """
import torch
model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
program = torch.export.export(model, (torch.zeros(2, 1, 8, 8),), dynamic_shapes=({0: torch.export.Dim("batch")},))
torch.export.save(program, out + "/model.pt2")
"""
)


@pytest.fixture
def script(settings, pipeline, ctx, data, tmp_path):
    """Train by a script; `fail` is its first attempt's exit code."""

    def run(text, command="python train.py", fail=0, **options):
        (settings.project / "train.py").write_text(text)
        values = {"fail": fail}
        return train(settings, pipeline, ctx, values, data, command=command, state=tmp_path / "state", **options)

    return run


def history(settings, trained, name):
    return [(p.step, p.value) for p in runs.client(settings).get_metric_history(trained.mlflow_run, name)]


def test_an_onnx_model_and_metrics_are_taken_also_after_a_failed_attempt(script, settings, tiny_onnx):
    tiny_onnx(settings.project / "model.onnx", ())
    (settings.project / "golden.json").unlink()
    with pytest.raises(JobFailed, match=r"python train\.py ended with exit code 3"):
        script(ONNX, fail=3)
    trained = script(ONNX, fail=3)
    assert history(settings, trained, "loss") == [(0, 1.0), (1, 0.5), (2, 1 / 3)]
    assert history(settings, trained, "lr") == [(0, 0.1), (1, 0.05)]
    assert trained.metrics["accuracy"] == 0.75
    assert {"extra_files/model.onnx", "extra_files/golden.json"} <= set(trained.digests)
    run = runs.client(settings).get_run(trained.mlflow_run)
    assert run.data.tags["airloom.code.function"] == "python train.py"
    kept = [a.path for a in runs.client(settings).list_artifacts(trained.mlflow_run, "source")]
    assert "source/train.py" in kept
    answers = mlflow.pyfunc.load_model(trained.model_uri).predict(np.zeros((5, 1, 8, 8), np.float32))
    assert next(iter(answers.values())).shape == (5, 10)


def test_an_exported_program_is_taken(script):
    trained = script(PROGRAM, command=["python", "train.py"])
    model = mlflow.pyfunc.load_model(trained.model_uri)
    assert model.predict(np.zeros((5, 1, 8, 8), np.float32)).shape == (5, 10)
    assert "extra_files/model.onnx" in trained.digests


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        (SCRIPT, JobFailed, r"saved no model; its output folder holds metrics.json, metrics.jsonl"),
        ("import os; os.kill(os.getpid(), 9)", JobFailed, "was killed by SIGKILL"),
        ("raise ValueError", JobFailed, "exit code 1"),
        (SCRIPT.replace("1 / (step + 1)", "float('nan')"), JobFailed, "diverged: loss is nan in step 0"),
        (SCRIPT + "open(out + '/metrics.json', 'w').write('[1]')", JobFailed, "no JSON object"),
        (SCRIPT + "open(out + '/model.onnx', 'w').write('nothing')", JobFailed, r"model\.onnx cannot be used"),
        (SCRIPT + "open(out + '/model.pt2', 'w').write('nothing')", JobFailed, r"model\.pt2 cannot be loaded"),
    ],
)
def test_what_went_wrong_is_named(script, text, error, message):
    with pytest.raises(error, match=message):
        script(text)


@pytest.mark.parametrize(("command", "message"), [("no-such-program", "cannot be started"), (" ", "it is empty")])
def test_a_command_that_cannot_start_is_named(script, command, message):
    with pytest.raises(ConfigError, match=message):
        script(SCRIPT, command=command)


def test_metrics_arrive_while_it_works_and_a_budget_ends_it_well(script, settings, tiny_onnx, ctx, monkeypatch):
    tiny_onnx(settings.project / "model.onnx", ())
    endless = ONNX + "\nimport time\ntime.sleep(600)\n"
    seen = []

    def watch():
        api = runs.client(settings)
        while not seen:
            found = runs.find_child(api, ctx, "train")
            seen.extend(api.get_metric_history(found.info.run_id, "loss") if found else [])
            time.sleep(0.1)

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.monotonic()
    trained = script(endless, budget=Budget(seconds=4))
    watcher.join()
    assert time.monotonic() - began < 300
    tags = runs.client(settings).get_run(trained.mlflow_run).data.tags
    assert tags["airloom.ended"] == "budget met: seconds 4"


def test_a_command_that_is_deaf_to_its_budget_is_killed(script, settings, tiny_onnx, monkeypatch):
    tiny_onnx(settings.project / "model.onnx", ())
    monkeypatch.setattr("airloom.training.command.GRACE", 0.5)
    deaf = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + ONNX + "\nimport time\ntime.sleep(600)\n"
    trained = script(deaf, budget=Budget(seconds=4))
    assert runs.client(settings).get_run(trained.mlflow_run).data.tags["airloom.ended"] == "budget met: seconds 4"


class Splits:
    def __init__(self, inputs):
        self.inputs = inputs

    def tensors(self, split):
        return self.inputs, None


def test_a_model_of_a_table_is_tried_with_its_columns_of_numbers():
    import torch

    table = {"a": torch.tensor([1, 2, 3]), "name": ["x", "y", "z"], "b": torch.tensor([0.5, 1.5, 2.5])}
    assert _example(Splits(table)).tolist() == [[1, 0.5], [2, 1.5]]
    with pytest.raises(ConfigError, match="a command trains on numbers: there is no column of numbers"):
        _example(Splits({"name": ["x", "y", "z"]}))
    with pytest.raises(ConfigError, match="not on texts"):
        _example(Splits(["x", "y"]))
