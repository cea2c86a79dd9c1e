"""Where things are. One place for every path and address.

What is given comes first (under Airflow, by a connection), then environment variables `AIRLOOM_*`, if not empty, then
`airloom.toml` of the project, then the default. A relative path of the environment counts from the working folder, one
of the file or of a connection from the project's root.
"""

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from airloom import home, project_file
from airloom.errors import ConfigError, CorruptFile
from airloom.files import read_json
from airloom.names import check_installation, kept_key, registered_model

PREFIX = "AIRLOOM_"
SWITCH = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
STACK = ("airflow_url", "airflow_user", "airflow_password", "mlflow_url", "server_url", "server_token")  # in stack.json
MLFLOW_ACCESS = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")  # of its clients
T = TypeVar("T")


def _switch(text: str) -> bool:
    if text.lower() not in SWITCH:
        raise ValueError(f"must be one of {', '.join(SWITCH)}")
    return SWITCH[text.lower()]


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise ValueError("must be a whole number, 0 or more")
    return int(text)


def _share(text: str) -> float:
    with suppress(ValueError):
        number = float(text)
        if 0 <= number <= 1:  # not NaN
            return number
    raise ValueError("must be a number from 0 to 1")


@dataclass(frozen=True)
class Given:
    """Settings that come before all others.

    Attributes:
        values: by the setting's name, as text.
        source: who says so, for messages: `connection shop`.
    """

    values: Mapping[str, str]
    source: str


_GIVEN: ContextVar[Given | None] = ContextVar("given", default=None)  # while `load` makes the settings


def _variable(
    name: str,
    default: T,
    parse: Callable[[str], T],
    *,
    secret: bool = False,
    whole: Callable[[str, Path], str] | None = None,
) -> T:
    """A field that takes what is given, else the environment's value, else the project file's, if not empty.

    No text shows a secret. `whole` makes a relative path absolute, from a folder.
    """

    def read() -> T:
        key, given = name.lower(), _GIVEN.get()
        if given and (text := given.values.get(key)):
            place, hint, root = f"{given.source}: {key} = ", "mend the connection", _project_or_here()
        elif text := _environment(name):
            place, hint, root = f"{PREFIX}{name}=", f"set {PREFIX}{name} to another value, or unset it", Path()
        else:
            project = _project()
            value = project_file.values(project).get(key)
            if project is None or value is None:
                return default
            text, root = str(value), project
            place, hint = f"{project_file.FILE} of {project}: {key} = ", "mend the value"
        try:
            return parse(whole(text, _absolute(root)) if whole else text)
        except ValueError as error:
            raise ConfigError(f"{place}{'***' if secret else text}: {error}", hint) from None

    return field(default_factory=read, repr=not secret)


def _environment(name: str) -> str:
    """The variable of a setting; empty where a project is given, as the environment is then that of another one."""
    given = _GIVEN.get()
    return "" if given and given.values.get("project") else os.environ.get(PREFIX + name, "")


def _project() -> Path | None:
    """The project that is meant: the one that is given or named, else the nearest upward from the working folder."""
    given = _GIVEN.get()
    if given and (named := given.values.get("project")):
        return _absolute(Path(named))
    if named := os.environ.get(PREFIX + "PROJECT"):
        return _absolute(Path(named))
    return project_file.root(Path(given.values["near"]) if given and given.values.get("near") else Path.cwd())


def _project_or_here() -> Path:
    return _project() or Path()


def _home() -> Path:
    """The state folder that is given, or that the environment or the project's file names, else `.airloom` there."""
    given, project = _GIVEN.get(), _project()
    if given and (named := given.values.get("home")):
        return _project_or_here() / Path(named).expanduser()
    if named := _environment("HOME"):
        return Path(named)
    if project is None or not (project / project_file.FILE).is_file():
        return (project if given and given.values.get("project") and project else Path()) / ".airloom"
    return project / Path(project_file.values(project).get("home", ".airloom")).expanduser()


def _address(text: str, root: Path) -> str:
    """An address, or the whole path of a folder; `host:path` is git's short form of an address."""
    return text if not text or ":" in text.split("/")[0] else str(_absolute(root / Path(text).expanduser()))


def _file(text: str, root: Path) -> str:
    return str(_absolute(root / Path(text).expanduser())) if text else ""


def _program(text: str, root: Path) -> str:
    """A link is left one: an environment's Python is a link, and where it leads is not that environment."""
    return os.path.abspath(root / Path(text).expanduser()) if os.sep in text else text  # noqa: PTH100


def _database(text: str, root: Path) -> str:
    """A database's address; the relative path of a SQLite file becomes a whole one.

    `postgresql://` names no driver. SQLAlchemy takes psycopg 3 for it; what the extra `postgres` installs is psycopg2.
    """
    for plain in ("postgresql://", "postgres://"):
        if text.startswith(plain):
            return f"postgresql+psycopg2://{text.removeprefix(plain)}"
    start, slashes, path = text.partition(":///")
    if not start.startswith("sqlite") or not slashes or not path or path.startswith((":", "/", "file:")):
        return text
    path, mark, query = path.partition("?")
    return f"{start}:///{_absolute(root / Path(path).expanduser())}{mark}{query}"


# No pydantic here, as in the files of pipelines: to load it took a tenth of a second of every command.
@dataclass
class Settings:
    """State folder, project root and the addresses of the running stack.

    `home` holds all state of one installation; `project`, the nearest folder upward with an `airloom.toml`, holds
    configs/, dags/ and the training code. `namespace` names the installation when `home` is made; `installation` is the
    name that it has, which never changes. The ports and
    secrets of a running stack are written by `airloom up` to `home/stack.json`, which only the owner may read.
    Homes that share datasets name one git remote (`data_remote`) and, when they start it, one DVC remote (`dvc_remote`,
    any address that DVC knows), each an address or a folder; otherwise both stand in `home/data`. `database` is the
    SQLAlchemy address of our own tables, SQLite in `home` where it is empty; `mlflow_store` that of MLflow's tables,
    which lineage reads, where MLflow is not the embedded stack's. `prediction_log_share` of the predictions, 0 to 1, go
    into the prediction log. `trusted_keys` is a file of the public keys whose signatures of model versions are trusted,
    instead of the one in `home`. `mlflow_login` off starts the stack's MLflow without a login.
    `devices` declares so many pretended devices instead of those found; `confine_jobs` lets jobs write only below
    `home` and the folder for temporary files. `user` is who does things, `Ada` or `Ada <ada@example.org>`; see
    `airloom.project.person`. `airflow_url` and its login name an Airflow that is not the stack's. `job_python` is the
    Python of the environment that jobs run in, where it is not this one. `mlflow_access` are the variables of MLflow's
    clients that come with a given MLflow.

    Raises:
        ConfigError: an environment variable, or `airloom.toml`, has a value that its setting cannot have.
    """

    home: Path = field(default_factory=_home)
    project: Path = field(default_factory=_project_or_here)
    namespace: str = _variable("NAMESPACE", "", check_installation)
    tracking_uri: str = _variable("TRACKING_URI", "", str, whole=_database)
    server_url: str = _variable("SERVER_URL", "", str)
    server_token: str = _variable("SERVER_TOKEN", "", str, secret=True)
    data_remote: str = _variable("DATA_REMOTE", "", str, whole=_address)
    dvc_remote: str = _variable("DVC_REMOTE", "", str, whole=_address)
    database: str = _variable("DATABASE", "", str, whole=_database)
    mlflow_store: str = _variable("MLFLOW_STORE", "", str, whole=_database)
    prediction_log_share: float = _variable("PREDICTION_LOG_SHARE", 1.0, _share)
    trusted_keys: str = _variable("TRUSTED_KEYS", "", str, whole=_file)
    job_python: str = _variable("JOB_PYTHON", "", str, whole=_program)
    mlflow_login: bool = _variable("MLFLOW_LOGIN", True, _switch)
    devices: int = _variable("DEVICES", 0, _count)
    confine_jobs: bool = _variable("CONFINE_JOBS", True, _switch)
    airflow_url: str = _variable("AIRFLOW_URL", "", str)
    airflow_user: str = _variable("AIRFLOW_USER", "", str)
    airflow_password: str = _variable("AIRFLOW_PASSWORD", "", str, secret=True)
    user: str = _variable("USER", "", str)
    airflow_token: str = _variable("AIRFLOW_TOKEN", "", str, secret=True)
    mlflow_access: Mapping[str, str] = field(init=False, default_factory=dict, repr=False)  # set by `load`

    def __post_init__(self) -> None:
        """Make folders absolute, so that a child with another working folder finds them."""
        self.home = _absolute(self.home)
        self.project = _absolute(self.project)
        here = Path.cwd()
        self.data_remote, self.dvc_remote = _address(self.data_remote, here), _address(self.dvc_remote, here)
        self.trusted_keys = _file(self.trusted_keys, here)

    @cached_property
    def stack(self) -> dict[str, Any]:
        """What `airloom up` wrote last: ports, addresses, secrets. Empty when it never ran here.

        Raises:
            CorruptFile: the file is empty or damaged.
        """
        path = self.home / "stack.json"
        hint = "`airloom down`, remove the file, and `airloom up`: it makes new passwords and tokens"
        values = read_json(path, hint)
        if missing := [name for name in STACK if values is not None and name not in values]:
            raise CorruptFile(f"{path} is damaged: it lacks {', '.join(missing)}", hint)
        return values or {}

    @cached_property
    def installation(self) -> str:
        """The name of the installation, to which models, experiments, runs and jobs belong; empty for none.

        Raises:
            ConfigError: `namespace` is another one.
            CorruptFile: the record of it is damaged.
        """
        return home.name_of(self.home, self.namespace)

    def registered(self, model: str) -> str:
        """A model's name in MLflow's registry: `production.digits` for `digits`; see `airloom.names`."""
        return registered_model(model, self.installation)

    def kept(self, key: str) -> str:
        """The key of a run, study or job as it is kept: `production:digits/manual__1` for `digits/manual__1`."""
        return kept_key(key, self.installation)

    @property
    def mlflow_uri(self) -> str:
        """The MLflow server of the stack, else a SQLite store in `home` (the same one the server uses)."""
        return self.tracking_uri or self.stack.get("mlflow_url") or f"sqlite:///{self.home / 'mlflow' / 'mlflow.db'}"

    @property
    def mlflow_credentials(self) -> tuple[str, str] | None:
        """Name and password for the stack's MLflow; None where it wants none, or another MLflow is named."""
        stack = self.stack
        if self.tracking_uri not in ("", stack.get("mlflow_url")) or not stack.get("mlflow_login"):
            return None
        return str(stack.get("mlflow_user", "")), str(stack.get("mlflow_password", ""))

    @property
    def mlflow_tables(self) -> str:
        """SQLAlchemy address of MLflow's own tables; empty where only a server somewhere else has them."""
        if self.mlflow_store:
            return self.mlflow_store
        if self.tracking_uri:
            return "" if self.tracking_uri.startswith("http") else self.tracking_uri
        return f"sqlite:///{self.home / 'mlflow' / 'mlflow.db'}"

    @property
    def prediction_log(self) -> Path:
        """The folder of the prediction log."""
        return self.home / "predictions"

    @property
    def model_server(self) -> str:
        """Address of the model server, empty when no stack was started."""
        return self.server_url or self.stack.get("server_url", "")

    @property
    def model_token(self) -> str:
        """Bearer token of the model server."""
        return self.server_token or self.stack.get("server_token", "")

    @property
    def database_address(self) -> str:
        """SQLAlchemy address of the stack's own tables."""
        return self.database or f"sqlite:///{self.home / 'airloom.db'}"

    @property
    def study_address(self) -> str:
        """SQLAlchemy address of Optuna's studies: a file of their own in `home`, else the database of our tables."""
        return f"sqlite:///{self.home / 'optuna.db'}" if self.database_address.startswith("sqlite:") else self.database

    def as_environment(self) -> dict[str, str]:
        """What another process needs to have the same settings."""
        values = {
            "AIRLOOM_HOME": str(self.home),
            "AIRLOOM_PROJECT": str(self.project),
            "AIRLOOM_NAMESPACE": self.namespace,
            "AIRLOOM_DATABASE": self.database_address,
            "AIRLOOM_TRACKING_URI": self.tracking_uri,
            "AIRLOOM_MLFLOW_STORE": self.mlflow_store,
            "AIRLOOM_DATA_REMOTE": self.data_remote,
            "AIRLOOM_DVC_REMOTE": self.dvc_remote,
            "AIRLOOM_TRUSTED_KEYS": self.trusted_keys,
            "AIRLOOM_JOB_PYTHON": self.job_python,
        }
        return {name: value for name, value in values.items() if value} | dict(self.mlflow_access)

    @property
    def data_repo(self) -> Path:
        """This home's bare git repository of datasets: branch `main`, one tag `name@vN` a version."""
        return self.home / "data" / "datasets.git"

    @property
    def dvc_remote_folder(self) -> Path:
        """The DVC remote where no other is named."""
        return self.home / "data" / "remote"

    @property
    def dvc_cache(self) -> Path:
        """The DVC cache that all writers and readers of this home share."""
        return self.home / "data" / "cache"

    def make_home(self) -> Path:
        """`home`, created where it is not there yet; see `airloom.home.make` for what is refused."""
        return home.make(self.home, self.namespace)


def load(given: Given | None = None) -> Settings:
    """The settings of this process, read anew: a stack may have started since.

    Args:
        given: what comes before the environment; where it names a project, instead of the environment. Of its values,
            `near` is a folder from which the project is searched upward, where the environment names none.

    Raises:
        ConfigError: a variable has a value that its setting cannot have, or the installation has another name.
    """
    token = _GIVEN.set(given)
    try:
        settings = Settings()
    finally:
        _GIVEN.reset(token)
    if given and settings.tracking_uri and settings.tracking_uri == given.values.get("tracking_uri"):
        login = (given.values.get(f"mlflow_{name}", "") for name in ("user", "password", "token"))
        settings.mlflow_access = dict(zip(MLFLOW_ACCESS, login, strict=True))  # empty ones too: no other's login
    if settings.namespace:
        _ = settings.installation  # refused at every door, not only at those that need it
    return settings


def _absolute(folder: Path) -> Path:
    try:
        return folder.expanduser().resolve()
    except RuntimeError as error:  # `~name` of a user that there is not
        raise ConfigError(f"there is no folder {folder}: {error}", "write the path out") from None
