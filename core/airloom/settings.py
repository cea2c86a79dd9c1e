"""Where things are. One place for every path and address; environment variables `AIRLOOM_*` override, if not empty."""

import json
import os
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from airloom.errors import ConfigError

PREFIX = "AIRLOOM_"


class Settings(BaseModel):
    """State folder, project root and the addresses of the running stack.

    `home` holds all state of one installation; `project` holds configs/, examples/ and dags/. The ports and
    secrets of a running stack are written by `airloom up` to `home/stack.json`, which only the owner may read.
    Homes that share datasets name one git remote (`data_remote`) and, when they start it, one DVC remote (`dvc_remote`,
    any address that DVC knows); otherwise both stand in `home/data`. `database` is the SQLAlchemy address of our own
    tables, SQLite in `home` where it is empty; `mlflow_store` that of MLflow's tables, which lineage reads, where
    MLflow is not the embedded stack's. `prediction_log_share` of the predictions, 0 to 1, go into the prediction log.
    `devices` declares so many pretended devices instead of those found; `confine_jobs` lets jobs write only below
    `home` and the folder for temporary files.
    """

    model_config = ConfigDict(extra="forbid")

    home: Path = Path(".airloom")
    project: Path = Path()
    tracking_uri: str = ""
    server_url: str = ""
    server_token: str = ""
    data_remote: str = ""
    dvc_remote: str = ""
    database: str = ""
    mlflow_store: str = ""
    prediction_log_share: float = Field(default=1.0, ge=0, le=1)
    devices: int = 0
    confine_jobs: bool = True

    # pydantic-settings does this too; to import it took a tenth of a second of every command.
    @model_validator(mode="before")
    @classmethod
    def _from_environment(cls, given: dict[str, Any]) -> dict[str, Any]:
        names = {name: PREFIX + name.upper() for name in cls.model_fields}
        return {name: os.environ[key] for name, key in names.items() if os.environ.get(key)} | given

    def model_post_init(self, _context: Any, /) -> None:
        """Make the two folders absolute, so that a child with another working folder finds them."""
        self.home = self.home.expanduser().resolve()
        self.project = self.project.expanduser().resolve()

    @cached_property
    def stack(self) -> dict[str, Any]:
        """What `airloom up` wrote last: ports, addresses, secrets. Empty when it never ran here."""
        try:
            return dict(json.loads((self.home / "stack.json").read_text()))
        except FileNotFoundError:
            return {}

    @property
    def mlflow_uri(self) -> str:
        """The MLflow server of the stack, else a SQLite store in `home` (the same one the server uses)."""
        return self.tracking_uri or self.stack.get("mlflow_url") or f"sqlite:///{self.home / 'mlflow' / 'mlflow.db'}"

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
            "AIRLOOM_DATABASE": self.database_address,
            "AIRLOOM_TRACKING_URI": self.tracking_uri,
            "AIRLOOM_MLFLOW_STORE": self.mlflow_store,
            "AIRLOOM_DATA_REMOTE": self.data_remote,
            "AIRLOOM_DVC_REMOTE": self.dvc_remote,
        }
        return {name: value for name, value in values.items() if value}

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
        """Create `home`, readable by its owner only."""
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self.home


def load() -> Settings:
    """The settings of this process, read anew: a stack may have started since.

    Raises:
        ConfigError: an environment variable has a value that its setting cannot have.
    """
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        variable = PREFIX + str(first["loc"][0]).upper()
        message = f"{variable}={first['input']}: {first['msg'][0].lower()}{first['msg'][1:]}"
        raise ConfigError(message, f"set {variable} to another value, or unset it") from None
