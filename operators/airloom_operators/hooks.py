"""The types of connections: the class that Airflow asks when a person presses *Test*."""

from collections.abc import Callable
from typing import Any

from airflow.sdk import BaseHook

from airloom.errors import AirloomError, ConfigError, StackError
from airloom.settings import Settings, load
from airloom_operators import connections

SECONDS = 5.0  # that a server has to answer


class _Hook(BaseHook):
    """A connection by its id, and whether what it names answers.

    Args:
        connection_id: of the type of the hook.
    """

    conn_name_attr = "connection_id"
    default_conn_name = ""
    conn_type = ""
    hook_name = ""

    def __init__(self, connection_id: str) -> None:
        super().__init__()
        self.connection_id = connection_id

    def get_conn(self) -> Any:
        """The connection itself."""
        return self.get_connection(self.connection_id)

    def test_connection(self) -> tuple[bool, str]:
        """What `Test` says: whether all is well, and what was seen. It writes nothing."""
        try:
            return True, self._look()
        except AirloomError as error:
            return False, str(error)

    def _look(self) -> str:
        raise NotImplementedError


class AirloomHook(_Hook):
    """A project: its folder, its state, its tables, and the servers that it names."""

    default_conn_name = "airloom_default"
    conn_type = connections.PROJECT
    hook_name = "Airloom project"

    def settings(self) -> Settings:
        """The settings that its connection makes."""
        return load(connections.Place(self.connection_id).given())

    def _look(self) -> str:
        settings = self.settings()
        values = connections.named(self.get_conn())
        seen = [_project(settings), _state(settings)]
        return "; ".join([*seen, *(_LOOKS[field](settings) for field in values)])


class MlflowHook(_Hook):
    """An MLflow server with its login."""

    default_conn_name = "airloom_mlflow_default"
    conn_type = connections.MLFLOW
    hook_name = "Airloom MLflow"

    def _look(self) -> str:
        return _mlflow(_with(connections.mlflow(self.get_conn())))


class ModelServerHook(_Hook):
    """A model server with its token."""

    default_conn_name = "airloom_server_default"
    conn_type = connections.SERVER
    hook_name = "Airloom model server"

    def _look(self) -> str:
        return _server(_with(connections.server(self.get_conn())))


class AirflowApiHook(_Hook):
    """Airflow's own API with a login."""

    default_conn_name = "airloom_airflow_default"
    conn_type = connections.AIRFLOW
    hook_name = "Airloom Airflow API"

    def _look(self) -> str:
        return _airflow(_with(connections.airflow(self.get_conn())))


def _with(values: dict[str, str]) -> Settings:
    from airloom.setting_sources import Given

    return load(Given(values, "the connection"))


def _project(settings: Settings) -> str:
    from airloom import project_file

    if not (settings.project / project_file.FILE).is_file():
        hint = "give the folder that `airloom init` made, as Airflow's processes see it"
        raise ConfigError(f"there is no {project_file.FILE} in {settings.project} on this machine", hint)
    return f"project {settings.project}"


def _state(settings: Settings) -> str:
    """Whether the stores of the state folder are of this release, and its database answers."""
    from sqlalchemy.exc import SQLAlchemyError

    from airloom.stack import migration

    try:
        wrong = [s for s in migration.check_own(settings) if s.state in (migration.OLD, migration.NEWER)]
    except SQLAlchemyError as error:
        cause = str(getattr(error, "orig", None) or type(error).__name__).strip()
        raise StackError(f"the database does not answer: {cause}", "look at its address and password") from None
    if not settings.home.is_dir():
        return f"state folder {settings.home} is not there yet: the first command or run makes it"
    if wrong:
        told = ", ".join(f"{store.name} {store.state}" for store in wrong)
        raise ConfigError(f"state folder {settings.home}: {told}", "`airloom db check`, and `airloom db migrate`")
    return f"state folder {settings.home}"


def _mlflow(settings: Settings) -> str:
    user, password, token = settings.mlflow_access.values()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    answer = _ask(
        *("MLflow", "POST", f"{settings.tracking_uri}/api/2.0/mlflow/experiments/search"),
        json={"max_results": 1},
        headers=headers,
        auth=(user, password) if user else None,
    )
    if "experiments" not in answer and answer:
        raise StackError(f"{settings.tracking_uri} is no MLflow server", "look at the address")
    return f"MLflow at {settings.tracking_uri} answers"


def _server(settings: Settings) -> str:
    headers = {"Authorization": f"Bearer {settings.server_token}"}
    _ask("the model server", "GET", f"{settings.server_url}/status", headers=headers)
    return f"the model server at {settings.server_url} answers"


def _airflow(settings: Settings) -> str:
    from airloom.stack.airflow_api import AirflowApi

    with AirflowApi(settings) as api:
        count = len(api.dags("airloom"))
    return f"Airflow at {settings.airflow_url} answers, and has {count} DAGs of Airloom"


_LOOKS: dict[str, Callable[[Settings], str]] = {"mlflow": _mlflow, "server": _server, "airflow": _airflow}


def _ask(what: str, method: str, url: str, **more: Any) -> dict[str, Any]:
    """The JSON object that a server answers.

    Raises:
        StackError: it does not answer, refuses the login, or answers something else.
    """
    import httpx

    try:
        answer = httpx.request(method, url, timeout=SECONDS, **more)
    except httpx.HTTPError as error:
        raise StackError(f"{what} does not answer at {url}: {type(error).__name__}", "look at the address") from None
    if answer.status_code in (401, 403):
        raise StackError(f"{what} at {url} refuses the login: {answer.status_code}", "look at the user and password")
    try:
        body = answer.json()
    except ValueError:
        body = None
    if answer.status_code != 200 or not isinstance(body, dict):
        raise StackError(f"{url} answers {answer.status_code} {answer.text[:200]!r}", "look at the address")
    return body
