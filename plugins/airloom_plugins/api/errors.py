"""What goes wrong, as problem details."""

import logging
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from airloom.database import is_away
from airloom.errors import (
    AirloomError,
    ConfigError,
    DataAway,
    DataError,
    JobError,
    MlflowAway,
    RegistryError,
    StackError,
)
from airloom.problem_details import MEDIA, problem

log = logging.getLogger(__name__)
# The first that fits.
_STATUS: tuple[tuple[type[AirloomError], int], ...] = (
    (MlflowAway, 503),
    (DataAway, 503),
    (JobError, 503),
    (StackError, 503),
    (RegistryError, 404),
    (ConfigError, 400),
    (DataError, 422),
)


def install(app: FastAPI) -> None:
    """Let an app answer so."""
    app.add_exception_handler(AirloomError, _ours)
    app.add_exception_handler(RequestValidationError, _form)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _any)


def answer(status: int, text: str, kind: str = "", **known: Any) -> JSONResponse:
    """An error as it is sent."""
    return JSONResponse(problem(status, text, kind, **known), status, media_type=MEDIA)


async def _ours(_: Request, error: Exception) -> JSONResponse:
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    where = error.where if isinstance(error, DataError) else {}
    return answer(status, str(error).replace("\n  -> ", ": "), **where)


async def _form(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - for the type checker: it is registered for these
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    more = f" (and {len(error.errors()) - 1} more)" if len(error.errors()) > 1 else ""
    return answer(422, f"{place}: {first['msg']}{more}", "wrong-form", input=place, value=repr(first.get("input"))[:80])


async def _http(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - the same
    return answer(error.status_code, str(error.detail))


async def _any(_: Request, error: Exception) -> JSONResponse:
    if is_away(error):
        return answer(503, "the database does not answer: try again")
    log.error("the API failed", exc_info=error)
    return answer(500, "this is a fault of Airloom: the log of Airflow's API server has it")
