"""How the routes are described: what BentoML makes `/docs.json` and `/schema.json` of, and what it leaves out."""

from typing import Any

from pydantic import BaseModel, Field

from airloom.inference.columns import ColumnSignature
from airloom_serving.limits import MOST_INSTANCES
from airloom_serving.served import ServedModel

ERRORS = {
    400: "The body is no JSON, or has another form.",
    401: "The bearer token is missing or wrong.",
    403: "The token is not for this model, or not for this route.",
    404: "No such model is served.",
    408: "The body did not come in time.",
    413: "The body, the instances or the probabilities that were asked for are too many.",
    415: "A pickle is not read.",
    422: "The instances do not fit the model, or its answer to one of them is not finite.",
    429: "The token asks more often than it may.",
    431: "The headers are too many or too long.",
    503: "Other requests take the room; ask again in a second.",
    504: "The model did not answer in time.",
}
MORE = {
    "/status": ("get", "What serves and since when, what is being loaded, and what could not be loaded."),
    "/v1/models": ("get", "What serves: versions, since when, requests, inputs and outputs."),
    "/v1/models/{model}": ("get", "The same of one model."),
    "/v2": ("get", "Open Inference Protocol: the server."),
    "/v2/models/{model}": ("get", "Open Inference Protocol: the tensors of a model."),
    "/v2/models/{model}/ready": ("get", "Open Inference Protocol: whether it serves."),
    "/v2/models/{model}/infer": (
        "post",
        "Open Inference Protocol: tensors in, the graph's outputs out, in JSON or as bytes behind it. "
        "https://github.com/kserve/open-inference-protocol",
    ),
}
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


class ErrorAnswer(BaseModel):
    """Every error."""

    error: str = Field(description="What is wrong, with which value, and what to do.")


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


def _in_path(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def complete(specification: dict[str, Any]) -> dict[str, Any]:
    """BentoML's OpenAPI document with the routes and errors that it does not know of."""
    schemas = specification["components"]["schemas"]
    schemas["ErrorAnswer"] = ErrorAnswer.model_json_schema()
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorAnswer"}}}
    refusals = {str(status): {"description": text, "content": error} for status, text in ERRORS.items()}
    predict = specification["paths"]["/predict"]["post"]
    answers = {str(status): answer for status, answer in predict["responses"].items()}
    predict["responses"] = {"200": answers["200"], **refusals}
    named = dict(predict, operationId="airloom__predict_by_name", parameters=[_in_path("model")])
    specification["paths"]["/v1/models/{model}/predict"] = {"post": named}
    for path, (method, text) in MORE.items():
        names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
        few = ["401", "403", "404"] if names else ["401", "403"]
        some = refusals if method == "post" else {status: refusals[status] for status in few}
        specification["paths"][path] = {
            method: {
                "tags": predict["tags"],
                "operationId": "airloom_" + "_".join(part.strip("{}") for part in path.split("/")),
                "description": text,
                "parameters": [_in_path(name) for name in names],
                "responses": {
                    "200": {"description": "A JSON object.", "content": {"application/json": {"schema": {}}}},
                    **some,
                },
            }
        }
    specification["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    specification["security"] = [{"token": []}]
    for path in ("/livez", "/readyz", "/healthz", "/metrics"):
        for operation in specification["paths"].get(path, {}).values():
            operation["security"] = []
    return specification
