"""Where things are: one place for every path and address."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from airloom import home, setting_sources, setting_values
from airloom.errors import CorruptFile
from airloom.files import read_json
from airloom.names import check_installation, kept_key, registered_model
from airloom.setting_sources import GIVEN, Given, variable

STACK = ("airflow_url", "airflow_user", "airflow_password", "mlflow_url", "server_url", "server_token")  # in stack.json
MLFLOW_ACCESS = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")  # of its clients


# No pydantic here, as in the files of pipelines: to load it took a tenth of a second of every command.
@dataclass
class Settings:
    """State folder, project root and the addresses of the running stack.

    `home` holds all state of one installation; `project`, the nearest folder upward with an `airloom.toml`, holds
    configs/, dags/ and the training code. `namespace` names the installation when `home` is made; `installation` is the
    name that it has, which never changes. The ports and secrets of a running stack are written by `airloom up` to
    `home/stack.json`, which only the owner may read.
    Homes that share datasets name one git remote (`data_remote`) and, when they start it, one DVC remote (`dvc_remote`,
    any address that DVC knows), each an address or a folder; otherwise both stand in `home/data`. `database` is the
    SQLAlchemy address of our own tables, SQLite in `home` where it is empty; `mlflow_store` that of MLflow's tables,
    which lineage reads, where MLflow is not the embedded stack's. The model server holds at most `served_mb` MiB of
    models at once, those of `served_always` among them; 0: all. `prediction_log_share` of the predictions, 0 to 1, go
    into the prediction log, which keeps `prediction_log_days` of them, and at most `prediction_log_gb`; 0 for no limit.
    The model metrics keep minutes for `metrics_minute_days` and hours for `metrics_hour_days`, 0 for ever, and days for
    ever. Alerts start at most `alert_runs_per_hour` runs of a pipeline's monitor, 0: none.
    `trusted_keys` is a file of the public keys whose signatures of model versions are trusted,
    instead of the one in `home`. `mlflow_login` off starts the stack's MLflow without a login.
    `devices` declares so many pretended devices instead of those found; `confine_jobs` lets jobs write only below
    `home` and the folder for temporary files. `user` is who does things, `Ada` or `Ada <ada@example.org>`; see
    `airloom.project.person`. `airflow_url` and its login name an Airflow that is not the stack's. `job_python` is the
    Python of the environment that jobs run in, where it is not this one. `mlflow_access` are the variables of MLflow's
    clients that come with a given MLflow.

    Raises:
        ConfigError: an environment variable, or `airloom.toml`, has a value that its setting cannot have.
    """

    home: Path = field(default_factory=setting_sources.home)
    project: Path = field(default_factory=setting_sources.project_or_here)
    namespace: str = variable("NAMESPACE", "", check_installation)
    tracking_uri: str = variable("TRACKING_URI", "", str, whole=setting_values.database)
    server_url: str = variable("SERVER_URL", "", str)
    server_token: str = variable("SERVER_TOKEN", "", str, secret=True)
    data_remote: str = variable("DATA_REMOTE", "", str, whole=setting_values.address)
    dvc_remote: str = variable("DVC_REMOTE", "", str, whole=setting_values.address)
    database: str = variable("DATABASE", "", str, whole=setting_values.database)
    mlflow_store: str = variable("MLFLOW_STORE", "", str, whole=setting_values.database)
    served_mb: int = variable("SERVED_MB", 0, setting_values.count)
    served_always: str = variable("SERVED_ALWAYS", "", str)
    prediction_log_share: float = variable("PREDICTION_LOG_SHARE", 1.0, setting_values.share)
    prediction_log_days: float = variable("PREDICTION_LOG_DAYS", 90.0, setting_values.amount)
    prediction_log_gb: float = variable("PREDICTION_LOG_GB", 10.0, setting_values.amount)
    metrics_minute_days: int = variable("METRICS_MINUTE_DAYS", 30, setting_values.count)
    metrics_hour_days: int = variable("METRICS_HOUR_DAYS", 400, setting_values.count)
    alert_runs_per_hour: int = variable("ALERT_RUNS_PER_HOUR", 4, setting_values.count)
    trusted_keys: str = variable("TRUSTED_KEYS", "", str, whole=setting_values.file)
    job_python: str = variable("JOB_PYTHON", "", str, whole=setting_values.program)
    mlflow_login: bool = variable("MLFLOW_LOGIN", True, setting_values.switch)
    devices: int = variable("DEVICES", 0, setting_values.count)
    confine_jobs: bool = variable("CONFINE_JOBS", True, setting_values.switch)
    airflow_url: str = variable("AIRFLOW_URL", "", str)
    airflow_user: str = variable("AIRFLOW_USER", "", str)
    airflow_password: str = variable("AIRFLOW_PASSWORD", "", str, secret=True)
    alerts_token: str = variable("ALERTS_TOKEN", "", str, secret=True)
    user: str = variable("USER", "", str)
    airflow_token: str = variable("AIRFLOW_TOKEN", "", str, secret=True)
    mlflow_access: Mapping[str, str] = field(init=False, default_factory=dict, repr=False)  # set by `load`

    def __post_init__(self) -> None:
        """Make folders absolute, so that a child with another working folder finds them."""
        self.home = setting_values.absolute(self.home)
        self.project = setting_values.absolute(self.project)
        here = Path.cwd()
        self.data_remote = setting_values.address(self.data_remote, here)
        self.dvc_remote = setting_values.address(self.dvc_remote, here)
        self.trusted_keys = setting_values.file(self.trusted_keys, here)

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
    def alerts_file(self) -> Path:
        """The file with the token of alerts, which Alertmanager reads too; `airloom up` makes it."""
        return self.home / "alerts.token"

    @property
    def token_of_alerts(self) -> str:
        """The token that Alertmanager shows, of the environment (AIRLOOM_ALERTS_TOKEN) or its file; empty for none."""
        if self.alerts_token:
            return self.alerts_token
        try:
            return self.alerts_file.read_text().strip()
        except FileNotFoundError:
            return ""

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
    token = GIVEN.set(given)
    try:
        settings = Settings()
    finally:
        GIVEN.reset(token)
    if given and settings.tracking_uri and settings.tracking_uri == given.values.get("tracking_uri"):
        login = (given.values.get(f"mlflow_{name}", "") for name in ("user", "password", "token"))
        settings.mlflow_access = dict(zip(MLFLOW_ACCESS, login, strict=True))  # empty ones too: no other's login
    if settings.namespace:
        _ = settings.installation  # refused at every door, not only at those that need it
    return settings
