"""The final training with the study's best parameters."""

import copy
import json
from typing import TYPE_CHECKING, Any

from airloom.contracts import RunContext, TrainedModel
from airloom.errors import JobFailed
from airloom.metadata import tracking
from airloom.pipeline.spec import Pipeline
from airloom.settings import Settings
from airloom.training.code import code_tags
from airloom.training.load import load_function, source_file
from airloom.training.run import DataProvider, TrainingRun, execute, snapshot_data
from airloom.training.store import PARAMETERS, store_model, stored_model

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from torch import Tensor
    from torch.nn import Module

KIND = "train"


class RunSink:
    """Sends reports to an MLflow run and keeps the last metrics and the model."""

    def __init__(self, settings: Settings, api: "MlflowClient", run_id: str) -> None:
        self.metrics: dict[str, float] = {}
        self.model: tuple[Module, Tensor] | None = None
        self._settings = settings
        self._api = api
        self._run_id = run_id

    def report(self, step: int, metrics: dict[str, float]) -> None:
        self.metrics |= metrics
        with tracking.reachable(self._settings):  # else a dead server looked like a fault of the user's function
            tracking.log_metrics(self._api, self._run_id, metrics, step)

    def save(self, model: "Module", example: "Tensor") -> None:
        self.model = copy.deepcopy(model).cpu().eval(), example.detach().cpu().clone()


def train(
    settings: Settings,
    pipeline: Pipeline,
    ctx: RunContext,
    parameters: dict[str, Any],
    data: DataProvider | None = None,
) -> TrainedModel:
    """Train once with `parameters` over the pipeline's, the run's overrides over both, and log the model.

    A second call with the same parameters returns the first one's model without training.

    Args:
        data: gives the arrays of a split; default: the context's snapshot.

    Raises:
        JobFailed: the function raised, diverged, or saved no model; or the export differs from torch.
        ConfigError: the function cannot be found.
        MlflowAway: MLflow does not answer; a retry continues in the same run.
    """
    api = tracking.client(settings)
    values = {**pipeline.parameters, **parameters, **ctx.parameters}
    with tracking.reachable(settings):
        number, done = _slot(api, ctx, values)
        if done:
            return done
        run_id = tracking.ensure_child(api, ctx, KIND, number, {PARAMETERS: _text(values)})
        with tracking.failing(settings, api, run_id):
            _record(api, settings, pipeline, ctx, run_id, values)
            sink = RunSink(settings, api, run_id)
            reader = data or snapshot_data(settings, ctx.snapshot)
            run = TrainingRun(values, pipeline.seed, reader, sink)
            execute(load_function(settings.project, pipeline.train), run, pipeline.train)
            if sink.model is None:
                raise JobFailed(f"{pipeline.train} saved no model", "call run.save_model(model, run.example())")
            return store_model(run_id, *sink.model, values, sink.metrics)


def _slot(api: "MlflowClient", ctx: RunContext, values: dict[str, Any]) -> tuple[int, TrainedModel | None]:
    """The first child number that is free or was begun with these very parameters; MLflow cannot change them."""
    number = 0
    while found := tracking.find_child(api, ctx, KIND, number):
        if found.data.tags.get(PARAMETERS) == _text(values):
            return number, stored_model(found)
        number += 1
    return number, None


def _record(
    api: "MlflowClient", settings: Settings, pipeline: Pipeline, ctx: RunContext, run_id: str, values: dict[str, Any]
) -> None:
    import torch

    tracking.log_parameters(api, run_id, values)
    tags = code_tags(settings.project, pipeline.train)
    threads = {"airloom.threads": str(torch.get_num_threads()), "airloom.seed": str(pipeline.seed)}
    for target, names in ((run_id, tags | threads), (ctx.mlflow_run, tags)):
        for name, value in names.items():
            api.set_tag(target, name, value)
    api.log_artifact(run_id, str(source_file(settings.project, pipeline.train)), "source")


def _text(values: dict[str, Any]) -> str:
    return json.dumps(values, sort_keys=True)
