"""Which Airflow, and who asks: the one that the environment names, else the stack's."""

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from airloom.errors import ConfigError, StackError
from airloom.settings import Settings


@dataclass(frozen=True)
class AirflowLogin:
    """The address of an Airflow with a token, or with a name and a password that are good for one."""

    url: str
    user: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    of_stack: bool = False

    @property
    def hint(self) -> str:
        """What to look at where Airflow does not answer, or refuses."""
        if self.of_stack:
            return "`airloom status`"
        return "look at AIRLOOM_AIRFLOW_URL, and AIRLOOM_AIRFLOW_TOKEN or AIRLOOM_AIRFLOW_USER and _PASSWORD"


def login_of(settings: Settings) -> AirflowLogin:
    """The login of AIRLOOM_AIRFLOW_*, else of the stack.

    Raises:
        ConfigError: the variables are not complete, or contradict each other.
        StackError: there are none, and no stack was started here.
    """
    url, user, password = settings.airflow_url, settings.airflow_user, settings.airflow_password
    if not url:
        if user or password or settings.airflow_token:
            message = "AIRLOOM_AIRFLOW_USER, _PASSWORD or _TOKEN is set, AIRLOOM_AIRFLOW_URL is not"
            raise ConfigError(message, "set it to Airflow's address, for example https://airflow.example.org")
        if not settings.stack:
            raise StackError(
                "no stack was started here", "`airloom up`, or set AIRLOOM_AIRFLOW_URL for another Airflow"
            )
        stack = settings.stack
        user, password = str(stack["airflow_user"]), str(stack["airflow_password"])
        return AirflowLogin(str(stack["airflow_url"]), user, password, of_stack=True)
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        hint = "give the address without /api, for example https://airflow.example.org"
        raise ConfigError(f"AIRLOOM_AIRFLOW_URL={url} is no address of an Airflow", hint)
    if settings.airflow_token and (user or password):
        raise ConfigError(
            "both AIRLOOM_AIRFLOW_TOKEN and AIRLOOM_AIRFLOW_USER or _PASSWORD are set", "unset one of them"
        )
    if not settings.airflow_token and not (user and password):
        hint = "set AIRLOOM_AIRFLOW_TOKEN, or both AIRLOOM_AIRFLOW_USER and AIRLOOM_AIRFLOW_PASSWORD"
        raise ConfigError(f"AIRLOOM_AIRFLOW_URL={url} has no login", hint)
    return AirflowLogin(url, user, password, settings.airflow_token)
