"""The OpenAPI document of `/docs` and `/docs.json`: BentoML's, with every route of ours."""

from dataclasses import dataclass, field
from typing import Any

from airloom_serving.asgi import FIRST, PROBLEM, ROWS, VERSION
from airloom_serving.description import Asked, Prediction, Problem
from airloom_serving.frames import FORMS
from airloom_serving.raw_bodies import RAW
from airloom_serving.security import METRICS, OPEN_PATHS
from airloom_serving.tensors import KINDS

JSON = "application/json"
ERRORS = {
    400: "The body has another form.",
    401: "The bearer token is missing or wrong.",
    403: "The token is not for this model, or not for this route.",
    404: "No such model is served.",
    408: "The body did not come in time.",
    413: "The body, the instances or the probabilities that were asked for are too many.",
    415: "This content type is not taken here.",
    422: "The instances do not fit the model, or its answer to one of them is not finite.",
    429: "The token asks more often than it may.",
    431: "The headers are too many or too long.",
    503: "Other requests take the room; ask again in a second.",
    504: "The model did not answer in time.",
}
OF_GET = ERRORS | {
    400: "A header comes twice that may come once.",
    413: "A body is too large; none is needed.",
    503: "It is not loaded yet, or other requests take the room; ask again in a second.",
}
HEADERS = {
    VERSION: "Of the model that answered.",
    FIRST: "The id of the first prediction; the body has all of them.",
    ROWS: "How many predictions there are.",
}
_OBJECT: dict[str, Any] = {JSON: {"schema": {"type": "object"}}}
_TEXT: dict[str, Any] = {"text/plain": {"schema": {"type": "string"}}}
_BYTES: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}


@dataclass(frozen=True)
class Described:
    """One of our routes.

    Attributes:
        text: what it does.
        body: the content that it takes, by content type; none: it is a GET.
        answer: the content of its answer.
    """

    text: str
    body: dict[str, Any] = field(default_factory=dict)
    answer: dict[str, Any] = field(default_factory=lambda: _OBJECT)


def _schema(name: str) -> dict[str, Any]:
    return {JSON: {"schema": {"$ref": f"#/components/schemas/{name}"}}}


def _list_of(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {"type": "array", "items": {"type": "object", "properties": properties, "required": list(required)}}


_NAME: dict[str, Any] = {"type": "string"}
_ANY: dict[str, Any] = {}
_SHAPE: dict[str, Any] = {"type": "array", "items": {"type": "integer", "minimum": 0}}
_KIND = {"type": "string", "enum": [*KINDS, "BYTES"]}
_TENSOR = {"name": _NAME, "datatype": _KIND, "shape": _SHAPE, "data": {"type": "array", "items": _ANY}}
_INFER = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": _NAME,
        "inputs": _list_of(_TENSOR, "name", "datatype", "shape"),
        "outputs": _list_of({"name": _NAME, "parameters": {"type": "object"}}, "name"),
        "parameters": {"type": "object"},
    },
}
_FRAME = {
    "dataframe_split": {
        "type": "object",
        "properties": {key: {"type": "array", "items": _ANY} for key in ("columns", "index", "data")},
        "required": ["data"],
    },
    "dataframe_records": {"type": "array", "items": {"type": "object"}},
    "instances": {"type": "array", "items": _ANY},
    "inputs": {"oneOf": [{"type": "array", "items": _ANY}, {"type": "object"}]},
}
_PARAMS = {"type": "object", "properties": {"scores": {"type": "boolean"}, "top": {"type": "integer", "minimum": 1}}}
_INVOKED = [
    {"type": "object", "properties": {form: _FRAME[form], "params": _PARAMS}, "required": [form]} for form in FORMS
]
_PREDICT = Described(
    "The same with the name in the path. The body may also be a picture, of a model of one, or the numbers of rows, "
    "little-endian in the type that the model takes; `?scores=true&top=3` then stands in the address.",
    _schema("Asked") | dict.fromkeys(sorted(RAW), _BYTES),
    _schema("Prediction"),
)
_INVOKE = Described(
    "As `mlflow models serve` answers, for its clients: frames of pandas in JSON or CSV, or lists. At the root, where "
    "one model serves alone.",
    {JSON: {"schema": {"oneOf": _INVOKED}}, "text/csv": {"schema": _NAME}},
    _schema("Prediction"),
)
_PING = Described("For probes of clients of `mlflow models serve`: 200 where it serves.")
_MLFLOW = {
    "/invocations": _INVOKE,
    "/ping": _PING,
    "/health": _PING,
    "/version": Described("The version of MLflow.", answer=_TEXT),
}
_MODEL = Described(
    "What serves of a model, why and since when: version, roles with their shares of the requests, task, inputs, "
    "outputs, classes, and an example that can be sent to `/v1/models/{model}/predict` as it is."
)
_V2 = {
    "": Described("Open Inference Protocol: the tensors of a model."),
    "/ready": Described("Open Inference Protocol: whether a model serves."),
    "/infer": Described(
        "Open Inference Protocol: tensors in, the graph's outputs out, in JSON or as bytes behind it. "
        "https://github.com/kserve/open-inference-protocol",
        {JSON: {"schema": _INFER}, "application/octet-stream": _BYTES},
    ),
}
ROUTES = {
    "/status": Described("What serves and since when, what is being loaded, and what could not be loaded."),
    "/readyz": Described("200 once there is what should serve.", answer=_TEXT),
    "/metrics": Described("For Prometheus.", answer=_TEXT),
    "/v1/models": Described("What serves: versions, since when, requests, inputs and outputs."),
    "/v2": Described("Open Inference Protocol: the server."),
    "/v2/health/live": Described("Open Inference Protocol: the process lives."),
    "/v2/health/ready": Described("Open Inference Protocol: there is what should serve."),
    **_MLFLOW,
    **{
        f"{above}/models/{{model}}{version}{path}": described
        for above, paths in (("/v1", {"": _MODEL, "/predict": _PREDICT, **_MLFLOW}), ("/v2", _V2))
        for version in ("", "/versions/{version}")
        for path, described in paths.items()
    },
}


def complete(specification: dict[str, Any]) -> dict[str, Any]:
    """BentoML's OpenAPI document with the routes and errors that it does not know of."""
    schemas = specification["components"]["schemas"]
    for model in (Asked, Prediction, Problem):
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= schema.pop("$defs", {})
        schemas[model.__name__] = schema
    predict = specification["paths"]["/predict"]["post"]
    answers = {str(status): answer for status, answer in predict["responses"].items()}
    predict["responses"] = _predicted(answers["200"]) | _refusals(ERRORS)
    for path, route in ROUTES.items():
        specification["paths"][path] = {"post" if route.body else "get": _operation(path, route, predict["tags"])}
    specification["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    specification["security"] = [{"token": []}]
    for path in OPEN_PATHS:
        for operation in specification["paths"].get(path, {}).values():
            operation["security"] = []
    return specification


def _operation(path: str, route: Described, tags: list[str]) -> dict[str, Any]:
    words = [part.strip("{}") for part in path.split("/")]
    names = [word for word, part in zip(words, path.split("/"), strict=True) if part.startswith("{")]
    answer = {"description": "What is answered.", "content": route.answer}
    made = {
        "tags": tags,
        "operationId": "airloom_" + "_".join(words),
        "description": route.text,
        "parameters": [_in_path(name) for name in names],
    }
    if not route.body:
        return made | {"responses": {"200": answer} | _refusals(_errors_of_get(path, bool(names)), OF_GET)}
    body = {"required": True, "content": route.body}
    return made | {"requestBody": body, "responses": _predicted(answer) | _refusals(ERRORS)}


def _errors_of_get(path: str, of_model: bool) -> list[int]:
    """The statuses of a GET: those of the guard, and its own."""
    is_open = path in OPEN_PATHS
    waits = of_model or not is_open or path in ("/readyz", "/ping", "/health")
    found = {400: True, 401: not is_open or path == METRICS, 403: of_model or path == "/status", 404: of_model}
    found |= {413: not is_open, 415: True, 429: not is_open, 431: True, 503: waits}
    return [status for status, comes in found.items() if comes]


def _predicted(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer of a model, whose headers say which one it was."""
    headers = {name.decode(): {"description": text, "schema": _NAME} for name, text in HEADERS.items()}
    return {"200": {**answer, "headers": headers}}


def _refusals(statuses: Any, texts: dict[int, str] = ERRORS) -> dict[str, Any]:
    content = {PROBLEM.decode(): _schema("Problem")[JSON]}
    return {str(status): {"description": texts[status], "content": content} for status in statuses}


def _in_path(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": _NAME}
