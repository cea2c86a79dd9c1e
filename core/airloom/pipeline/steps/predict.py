"""The last step: the new champion answers the datasets that `predict` of the pipeline file names."""

from typing import Any

from airloom.contracts import RegisteredVersion, RunContext
from airloom.names import shown_model
from airloom.pipeline.steps.base import Step, light
from airloom.settings import load
from airloom.spec.load import definition

STEP = Step("predict", "airloom.pipeline.steps.predict:predict", resources=light, mapped_by="entry")


def predict(context: dict[str, Any], registered: dict[str, Any], entry: int) -> dict[str, Any]:
    """Job entry: one entry of `predict`; returns a `BatchPrediction` as a dict.

    Killed and run again, it goes on; where the dataset has a newer version by then, it answers that.
    """
    from airloom.prediction.delivery import Target
    from airloom.prediction.job import carry_out
    from airloom.prediction.request import Asked, fix

    settings, ctx, version = load(), RunContext.from_dict(context), RegisteredVersion.from_dict(registered)
    pipeline = definition(ctx)
    wanted = pipeline.predict[entry]
    model = f"{shown_model(version.model, settings.installation)}/{version.version}"
    request = fix(settings, Asked(model, wanted.dataset, wanted.split, wanted.scores, list(wanted.columns)))
    return carry_out(settings, request, Target(commit=wanted.commit or ""), pipeline.resources.threads).to_dict()
