"""What a model takes and answers, and the forms of requests and answers, of which `/docs.json` is made."""

from typing import Any

from pydantic import BaseModel, Field

from airloom.inference.columns import ColumnSignature
from airloom_serving.limits import MOST_INSTANCES
from airloom_serving.served import ServedModel

INSTANCES = Field(
    min_length=1,
    max_length=MOST_INSTANCES,
    description="Each is a nest of numbers of the model's shape, a text, or a picture file in base64; of a model of "
    "several inputs an object by input. `/status` says what each model takes: names, types and shapes.",
)
SCORES = Field(default=None, description="Have the probability of each class.")
TOP = Field(default=None, ge=1, description="Have so many of the most probable classes.")


class ClassScore(BaseModel):
    """A class and its probability."""

    class_: Any = Field(alias="class", description="As its label is in the data.")
    score: float


class Prediction(BaseModel):
    """The answers to a request, one entry for each instance."""

    predictions: list[Any] = Field(
        description="As the model's task has it: a class, as its label is in the data, a list of such, a number or "
        "several, a mask, a vector; of a model of several outputs an object."
    )
    model: str
    version: str = Field(description="Of the registered model.")
    prediction_ids: list[str] = Field(description="`airloom trace ID` follows one to its commits.")
    classes: list[Any] = Field(default=[], description="With `scores`: the classes in their order.")
    scores: list[list[float]] = Field(default=[], description="With `scores`: a probability for each class.")
    top: list[list[ClassScore]] = Field(default=[], description="With `top`: the most probable first.")


class Asked(BaseModel):
    """A request whose path names the model."""

    instances: list[Any] = INSTANCES
    scores: bool | None = SCORES
    top: int | None = TOP


class Problem(BaseModel):
    """Every error: problem details of RFC 9457."""

    type: str = Field(description="`urn:airloom:` and what is wrong in a word, or `about:blank`.")
    title: str = Field(description="The same for people.")
    status: int
    detail: str = Field(description="What is wrong, with which value, and what to do.")
    error: str = Field(description="The same, where clients of the Open Inference Protocol look for it.")
    row: int | None = Field(default=None, description="Which instance, counted from 0.")
    input: str | None = Field(default=None, description="Which input, column or key.")
    value: str | None = Field(default=None, description="Which value.")
    model: str | None = None
    version: str | None = None


def task_of(model: ServedModel) -> str:
    """What its answers are for; of a model whose version does not say so what they are, "" of several outputs."""
    if model.task is not None:
        return model.task.name
    if len(model.graph.outputs) > 1:
        return ""
    return "classification" if model.processing.threshold or model.graph.outputs[0].values > 1 else "regression"


def described(model: ServedModel) -> dict[str, Any]:
    """What a model takes of an instance, and what its graph answers: names, types, and shapes of one row."""
    asked = model.signature
    if isinstance(asked, ColumnSignature):
        inputs = [_told(column.name, column.kind, column.shape) for column in asked.described]
    else:
        kinds = {"text": asked.processing.tokenise, "picture": asked.processing.picture}
        kind = next((kind for kind, part in kinds.items() if part), "")
        port = asked.port
        inputs = [_told(port.name, kind or port.dtype, () if kind else asked.shape)]
    return {"inputs": inputs, "outputs": [_told(port.name, port.dtype, port.row) for port in model.graph.outputs]}


def _told(name: str, kind: str, shape: tuple[int | str, ...]) -> dict[str, Any]:
    return {"name": name, "type": kind, "shape": list(shape)}
