"""Settings from connections of Airflow. What a connection says comes before `airloom.toml` and the environment.

A connection of type `airloom` is about one project, and names the connections of its MLflow, its model server and its
Airflow. It counts where an operator, or `build_dags`, names it: nothing is looked up otherwise, as Airflow answers
alike where a connection is not there and where it could not look.
"""

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from airloom.errors import ConfigError
from airloom.setting_sources import Given
from airloom.settings import Settings, load
from airloom_operators.provider_info import FIELDS

PROJECT, MLFLOW, SERVER, AIRFLOW = "airloom", "airloom_mlflow", "airloom_server", "airloom_airflow"
NAMED = {"mlflow": MLFLOW, "server": SERVER, "airflow": AIRFLOW}  # fields of PROJECT that name a connection
AGAIN, TRIES = 5.0, 12  # a trigger asks so often for a connection, once in so many seconds


@dataclass(frozen=True)
class Place:
    """Which project an operator or a trigger is of.

    Attributes:
        connection_id: of type `airloom`; empty for none.
        project: a folder in it, which is searched upward where neither connection nor environment names a project.
    """

    connection_id: str = ""
    project: str = ""

    def arguments(self) -> dict[str, str]:
        """What an operator or a trigger takes of it; a trigger's arguments tell it from others."""
        return {name: value for name, value in vars(self).items() if value}

    def given(self) -> Given | None:
        """What comes before the environment; asks Airflow for the connections.

        Raises:
            AirflowNotFoundException: there is none, or Airflow does not answer.
            ConfigError: a connection is of another type, or says what cannot be.
        """
        from airflow.sdk import BaseHook

        if not self.connection_id:
            return self._near()
        main = BaseHook.get_connection(self.connection_id)
        return combined(main, {kind: BaseHook.get_connection(name) for kind, name in named(main).items()})

    async def settings(self) -> Settings:
        """The settings, for a trigger, which shares its process with those of other projects.

        Raises:
            AirflowNotFoundException: there is no such connection, or Airflow did not answer for a minute.
            ConfigError: as of `given`.
        """
        import asyncio

        from airflow.sdk import BaseHook
        from airflow.sdk.exceptions import AirflowNotFoundException

        if not self.connection_id:
            return load(self._near())
        for left in reversed(range(TRIES)):
            try:
                main = await BaseHook.aget_connection(self.connection_id)
                others = {kind: await BaseHook.aget_connection(name) for kind, name in named(main).items()}
                break
            except AirflowNotFoundException:  # also where Airflow's server is being started again
                if not left:
                    raise
                await asyncio.sleep(AGAIN)
        return load(combined(main, others, mask=False))

    def _near(self) -> Given | None:
        return Given({"near": self.project}, "build_dags") if self.project else None


def named(main: Any) -> dict[str, str]:
    """The ids of the connections that a connection of a project names, by its field."""
    extra = _fields(main, PROJECT)
    return {field: extra[field] for field in NAMED if field in extra}


def combined(main: Any, others: Mapping[str, Any], *, mask: bool = True) -> Given:
    """What a project's connection says, with those that it names.

    Args:
        main: of type `airloom`.
        others: by the field that names them.
        mask: hide what is secret in the logs of this process too in the forms that Airflow does not know of.

    Raises:
        ConfigError: one is of another type, has an unknown field, or no whole address.
    """
    values = {name: value for name, value in _fields(main, PROJECT).items() if name not in NAMED}
    if "database" in values:
        values["database"] = _with_password(main, "database", values["database"], main.password, mask)
    for field, connection in others.items():
        values |= _SAYS[field](connection, mask)
    return Given(values, f"connection {main.conn_id}")


def mlflow(connection: Any, mask: bool = True) -> dict[str, str]:
    """Address and login of an MLflow server; a password alone is a token."""
    extra, secret = _fields(connection, MLFLOW), connection.password or ""
    values = {"tracking_uri": address(connection)}
    values |= {"mlflow_user": connection.login, "mlflow_password": secret} if connection.login else {}
    values |= {} if connection.login else {"mlflow_token": secret}
    if store := extra.get("store"):
        values["mlflow_store"] = _with_password(connection, "store", store, extra.get("store_password"), mask)
    return values


def server(connection: Any, _mask: bool = True) -> dict[str, str]:
    """Address and token of a model server."""
    _fields(connection, SERVER)
    return {"server_url": address(connection), "server_token": connection.password or ""}


def airflow(connection: Any, _mask: bool = True) -> dict[str, str]:
    """Address and login of Airflow's API; a password alone is a token."""
    _fields(connection, AIRFLOW)
    user, secret = connection.login or "", connection.password or ""
    login = {"airflow_user": user, "airflow_password": secret} if user else {"airflow_token": secret}
    return {"airflow_url": address(connection)} | login


_SAYS = {"mlflow": mlflow, "server": server, "airflow": airflow}


def address(connection: Any) -> str:
    """The address of a server, `https://mlflow.example.org`, without a slash at its end.

    Raises:
        ConfigError: it is none, or holds a password.
    """
    text = str(connection.host or "").strip().rstrip("/")
    hint = "give the whole address as its host, for example https://mlflow.example.org, and the login in its own fields"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ConfigError(f"connection {connection.conn_id}: {error}", hint) from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ConfigError(f"connection {connection.conn_id}: {text[:200]!r} is no address of a server", hint)
    if parts.username is not None or parts.password is not None:
        raise ConfigError(f"connection {connection.conn_id}: its address holds a login", hint)
    if connection.port and not port:
        parts = parts._replace(netloc=f"{parts.netloc}:{connection.port}")
    return urlunsplit(parts)


def _fields(connection: Any, kind: str) -> dict[str, str]:
    """The fields that hold something, of a connection of this type."""
    place = f"connection {connection.conn_id}"
    if connection.conn_type != kind:
        raise ConfigError(f"{place} is of type {connection.conn_type!r}, not {kind!r}", "choose that type for it")
    try:
        extra = json.loads(connection.extra or "{}")
    except ValueError:
        extra = None
    if not isinstance(extra, dict):
        raise ConfigError(f"{place}: its extra fields are no JSON object", "fill in its form")
    known = FIELDS[kind]
    for name, value in extra.items():
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            guess = f"; did you mean {close[0]!r}?" if close else ""
            raise ConfigError(f"{place}: unknown field {name!r}{guess}", f"the fields are {', '.join(known) or 'none'}")
        if value is not None and not isinstance(value, str):
            raise ConfigError(f"{place}: {name} is {value!r}", "give a text")
    return {name: value for name, value in extra.items() if value}


def _with_password(connection: Any, field: str, text: str, password: str | None, mask: bool) -> str:
    """A database's address with its password, which stands in a field of its own, where Airflow hides it."""
    from airflow.sdk.log import mask_secret

    start, _, rest = text.partition("://")
    user, at, place = rest.rpartition("@")
    if ":" in user:
        hint = "take it out of the address, and put it into the field for the password"
        raise ConfigError(f"connection {connection.conn_id}: {field} holds a password, which would be shown", hint)
    if not password:
        return text
    if not at:
        hint = "name the user there: postgresql://airloom@db.example.org/airloom"
        raise ConfigError(f"connection {connection.conn_id}: a password, but {field} has no user", hint)
    if mask:
        mask_secret(quote(password, safe=""))
    return f"{start}://{user}:{quote(password, safe='')}@{place}"
