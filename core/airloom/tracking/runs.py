"""The MLflow runs of a pipeline run: one parent, and children found again by their key after a crash."""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from airloom.contracts import RunContext
from airloom.errors import ConfigError, MlflowAway, MlflowRefused, RegistryError
from airloom.files import is_new, sqlite_file
from airloom.names import child_run
from airloom.settings import Settings
from airloom.tracking import served_artifacts, store, titles
from airloom.tracking.tags import Tag

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

EXPERIMENTS = "airloom/"  # before the pipeline, in the name of its experiment
_STRANGER = ("UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED")
PAGE = 1000  # the most that MLflow gives of models at once
MOST_PARAMETERS = 100  # that MLflow takes in one request
# What MLflow says where sending the same again would not help; anything else may be over in a minute.
_REFUSALS = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_DOES_NOT_EXIST", "INVALID_STATE", "PERMISSION_DENIED")
LOGIN = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")  # read by MLflow's clients
# With these a refused connection is an error after about half a minute, not after MLflow's many minutes.
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "5",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",  # at INFO it tells of its own tables
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


def client(settings: Settings) -> "MlflowClient":
    """A client for the tracking server or, without one, the SQLite store in `home`.

    Also points MLflow's module-level functions and the processes started from here at the same address.
    """
    uri = settings.mlflow_uri
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    os.environ["MLFLOW_TRACKING_URI"] = os.environ["MLFLOW_REGISTRY_URI"] = uri
    _log_in(settings)
    import mlflow

    logging.getLogger("mlflow").setLevel(os.environ["MLFLOW_LOGGING_LEVEL"])  # it may have been imported before
    if uri.startswith("sqlite:"):
        artifacts = settings.make_home() / "mlflow" / "artifacts"
        artifacts.mkdir(parents=True, exist_ok=True)
        store.ensure(uri, artifacts.as_uri())
        served_artifacts.register()
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    with connection_errors(settings):
        try:
            return mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
        except mlflow.MlflowException:
            if uri.startswith("sqlite:"):
                store.check(uri)  # else it says which command of MLflow's to call, and makes no backup
            raise


def _log_in(settings: Settings) -> None:
    """Give MLflow's clients of this process, and of those it starts, the login of the stack's MLflow.

    Another MLflow gets the login that was given with it, or that the environment has for it, and never the stack's.
    """
    login, stack = settings.mlflow_credentials, settings.stack
    if settings.mlflow_access:
        os.environ.update(settings.mlflow_access)
    elif login:
        os.environ.update(zip(LOGIN, login, strict=True))
    elif stack.get("mlflow_password") and os.environ.get(LOGIN[1]) == stack["mlflow_password"]:
        for name in LOGIN:
            os.environ.pop(name, None)


def reader(settings: Settings) -> "MlflowClient":
    """The same for who only reads: where MLflow has no store yet, none is made.

    Raises:
        RegistryError: there is none.
    """
    if is_new(settings.mlflow_uri):
        message = f"nothing was run here yet: there is no {sqlite_file(settings.mlflow_uri)}"
        raise RegistryError(message, "`airloom run PIPELINE` makes it, or set AIRLOOM_HOME to another state folder")
    return client(settings)


@contextmanager
def connection_errors(settings: Settings) -> Iterator[None]:
    """Turn a failed connection inside the block into an error that names the address.

    Raises:
        MlflowAway: the tracking server does not answer.
        MlflowRefused: it wants another login.
    """
    from mlflow.exceptions import MlflowException
    from requests.exceptions import RequestException

    try:
        yield
    except (MlflowException, RequestException) as error:
        if (
            getattr(error, "error_code", "") in _STRANGER
            or getattr(getattr(error, "response", None), "status_code", 0) == 401
        ):
            hint = "`airloom up` makes the login anew" if settings.mlflow_credentials else f"set {' and '.join(LOGIN)}"
            hint = "mend the login of its connection in Airflow" if settings.mlflow_access else hint
            raise MlflowRefused(f"MLflow at {settings.mlflow_uri} refuses the login", hint) from error
        chain = (error, error.__cause__, error.__context__)
        if not any(isinstance(link, RequestException) for link in chain):
            raise
        message = f"MLflow does not answer at {settings.mlflow_uri}: {type(chain[2] or error).__name__}"
        raise MlflowAway(message, "`airloom status` shows the stack; `airloom up` starts it") from error


def refusal(error: Exception | None) -> str:
    """What MLflow says where it answered and does not take what it was sent; empty for any other error."""
    code = getattr(error, "error_code", "")
    return f"{code}: {' '.join(str(error).split())[:500]}" if code in _REFUSALS else ""


def pages(search: Callable[..., Any], *asked: Any, **more: Any) -> Iterator[Any]:
    """Everything that a search of MLflow's client finds, page by page."""
    token: str | None = None
    while True:
        page = search(*asked, **more, max_results=PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


@contextmanager
def failing(settings: Settings, api: "MlflowClient", run_id: str) -> Iterator[None]:
    """An error inside the block ends the run as FAILED; where MLflow itself is away the run stays as it is."""
    try:
        with connection_errors(settings):
            yield
    except MlflowAway:
        raise  # asking a dead server again would only delay the message
    except Exception:
        api.set_terminated(run_id, "FAILED")
        raise


def ensure_parent(settings: Settings, pipeline_name: str, key: str, tags: dict[str, str]) -> tuple[str, str]:
    """Find or create the parent run of the pipeline run `key`.

    Args:
        settings: of this installation.
        pipeline_name: names the experiment.
        key: of the pipeline run.
        tags: of the run, where it is created.

    Returns:
        The experiment's id and the run's id; the same ones for the same key, however often it is called.

    Raises:
        RegistryError: MLflow does not answer, or the experiment was deleted.
        ConfigError: another installation has the name of this one there.
    """
    from airloom.tracking.claim import claim

    api = client(settings)
    with connection_errors(settings):
        claim(settings, api)
        experiment = _experiment(api, settings, experiment_name(settings, pipeline_name))
        run = find_run(api, experiment, key)
        if run:
            _reopen(api, run)
            return experiment, str(run.info.run_id)
        name = titles.begun(tags) or key.rsplit("/", 1)[-1]
        run = api.create_run(experiment, tags={**tags, Tag.KEY: key}, run_name=name)
        return experiment, str(run.info.run_id)


def experiment_name(settings: Settings, pipeline: str) -> str:
    """The MLflow experiment of a pipeline: `airloom/digits`, in a named installation `airloom/production.digits`."""
    return f"{EXPERIMENTS}{settings.registered(pipeline)}"


def find_run(api: "MlflowClient", experiment: str, key: str, parent: str = "") -> "Run | None":
    """The run that has this key, else None.

    Args:
        api: of MLflow.
        experiment: the id of the pipeline's experiment.
        key: of a pipeline run, or of a child run.
        parent: the MLflow run that it is a child of; empty for any.

    Raises:
        ConfigError: the key holds both kinds of quotes, or line ends.
    """
    query = f"tags.`{Tag.KEY}` = {_quoted(key)}" + (f" and tags.`{Tag.PARENT}` = '{parent}'" if parent else "")
    # Two processes may have created it at once; both then agree on the older one.
    runs = api.search_runs([experiment], query, max_results=1, order_by=["attributes.start_time ASC"])
    return runs[0] if runs else None


def child_key(ctx: RunContext, kind: str, number: int) -> str:
    """The key of a child run, `digits/manual__…/trial/3`."""
    return child_run(ctx.key, kind, number)


def find_child(api: "MlflowClient", ctx: RunContext, kind: str, number: int = 0) -> "Run | None":
    """The child run with that kind and number, whatever its state, else None.

    Args:
        api: of MLflow.
        ctx: of the pipeline run.
        kind: `train` or `trial`.
        number: tells children of one kind apart.
    """
    return find_run(api, ctx.experiment, child_key(ctx, kind, number), ctx.mlflow_run)


def ensure_child(
    api: "MlflowClient", ctx: RunContext, kind: str, number: int = 0, tags: dict[str, str] | None = None
) -> str:
    """The id of that child run: found and set running again, or created with `tags`.

    Args:
        api: of MLflow.
        ctx: of the pipeline run.
        kind: `train` or `trial`.
        number: tells children of one kind apart.
        tags: of the run, where it is created.
    """
    run = find_child(api, ctx, kind, number)
    if run:
        _reopen(api, run)
        return str(run.info.run_id)
    return create_child(api, ctx, kind, number, tags)


def create_child(
    api: "MlflowClient",
    ctx: RunContext,
    kind: str,
    number: int = 0,
    tags: dict[str, str] | None = None,
    began: int | None = None,
) -> str:
    """The id of a new child run, where the caller knows that there is none.

    Args:
        api: of MLflow.
        ctx: of the pipeline run.
        kind: `train` or `trial`.
        number: tells children of one kind apart.
        tags: of the run.
        began: ms of Unix time; None for now.
    """
    names = {Tag.KEY: child_key(ctx, kind, number), Tag.PARENT: ctx.mlflow_run, Tag.KIND: kind}
    names |= _user_of(api, ctx.mlflow_run)
    run = api.create_run(ctx.experiment, began, {**(tags or {}), **names}, f"{kind}-{number}")
    return str(run.info.run_id)


def children(api: "MlflowClient", ctx: RunContext, kind: str) -> "list[Run]":
    """All child runs of that kind, the oldest first."""
    query = f"tags.`{Tag.PARENT}` = '{ctx.mlflow_run}' and tags.`{Tag.KIND}` = '{kind}'"
    return list(pages(api.search_runs, [ctx.experiment], query, order_by=["attributes.start_time ASC"]))


def reused(run: "Run", step: str) -> dict[str, str]:
    """The runs whose result of a step this pipeline run took instead of its own, by candidate; see `airloom.cache`."""
    name = f"{Tag.REUSED}.{step}"
    tags = {tag: run_id for tag, run_id in run.data.tags.items() if tag == name or tag.startswith(f"{name}.")}
    return {tag.removeprefix(name).removeprefix("."): run_id for tag, run_id in tags.items()}


def log_metrics(api: "MlflowClient", run_id: str, metrics: dict[str, float], step: int) -> None:
    """All metrics of one step in one request.

    Args:
        api: of MLflow.
        run_id: of the run.
        metrics: values by name.
        step: of training.
    """
    import time

    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    api.log_batch(run_id, metrics=[Metric(name, value, now, step) for name, value in metrics.items()])


def log_parameters(api: "MlflowClient", run_id: str, parameters: dict[str, Any]) -> None:
    """All parameters in as few requests as MLflow allows. It refuses another value for a name that it has."""
    from mlflow.entities import Param

    params = [Param(name, str(value)) for name, value in parameters.items()]
    for at in range(0, len(params), MOST_PARAMETERS):
        api.log_batch(run_id, params=params[at : at + MOST_PARAMETERS])


def _experiment(api: "MlflowClient", settings: Settings, name: str) -> str:
    from mlflow.exceptions import MlflowException

    experiment = api.get_experiment_by_name(name)
    if experiment is None:
        try:
            return str(api.create_experiment(name, artifact_location=_artifacts(settings, name)))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            experiment = api.get_experiment_by_name(name)  # another process was first
    if experiment.lifecycle_stage != "active":
        raise RegistryError(f"the MLflow experiment {name} was deleted", "restore it in MLflow, or rename the pipeline")
    return str(experiment.experiment_id)


def _artifacts(settings: Settings, name: str) -> str | None:
    """A server decides by itself; a bare SQLite store would use the working folder."""
    if not settings.mlflow_uri.startswith("sqlite:"):
        return None
    return (settings.home / "mlflow" / "artifacts" / name).as_uri()


@lru_cache(maxsize=8)
def _user_of(api: "MlflowClient", run_id: str) -> dict[str, str]:
    """Who wanted a run, as a tag; empty of a run that an earlier release began."""
    user = api.get_run(run_id).data.tags.get(Tag.USER)
    return {Tag.USER: user} if user else {}


def _quoted(key: str) -> str:
    mark = '"' if "'" in key else "'"
    if mark in key or "\n" in key:
        raise ConfigError(f"a run's key cannot hold both kinds of quotes or line ends: {key!r}", "rename the run")
    return f"{mark}{key}{mark}"


def _reopen(api: "MlflowClient", run: "Run") -> None:
    if run.info.status != "RUNNING":
        api.update_run(run.info.run_id, status="RUNNING")
