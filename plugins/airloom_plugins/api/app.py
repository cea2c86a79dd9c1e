"""The app that Airflow's API server mounts: the routes of each object, behind the one gate."""

from typing import Any

from fastapi import FastAPI, Request

from airloom.version import __version__
from airloom_plugins.api import alerts, audit, errors, labels, metrics
from airloom_plugins.api.access import DECLARED, Gate, Right, needs

TITLE = "Airloom"
ABOUT = (
    "Models in service: metrics, labels, alerts. Every route takes a token of this Airflow (`POST /auth/token`) or its"
    " session, and a right, `x-airloom-right`: *read* has who may see the DAG of a model's pipeline, *operate* who may"
    " start runs of it, *administer* who may change connections. `POST /alerts` takes the token of alerts instead."
    " Errors are problem details (RFC 9457)."
)


def build() -> Gate:
    """The app, behind its gate."""
    app = FastAPI(title=TITLE, version=__version__, description=ABOUT, openapi_url=None, docs_url=None, redoc_url=None)
    for routes in (metrics.router, labels.router, alerts.router, audit.router):
        app.include_router(routes)
    errors.install(app)

    @app.get("/openapi.json", summary="describe the API", include_in_schema=False, **needs(Right.READ))
    def described(request: Request) -> dict[str, Any]:
        return _described(app) | {"servers": [{"url": request.scope.get("root_path", "")}]}

    return Gate(app)


def _described(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with what each route takes."""
    made = app.openapi()
    schemes = {
        "airflow": {"type": "http", "scheme": "bearer", "description": "A token of this Airflow."},
        "alerts": {"type": "http", "scheme": "bearer", "description": "The token of alerts."},
    }
    made.setdefault("components", {})["securitySchemes"] = schemes
    for path in made["paths"].values():
        for operation in path.values():
            operation["security"] = [{"alerts" if operation[DECLARED] == Right.ALERTS else "airflow": []}]
    return made
