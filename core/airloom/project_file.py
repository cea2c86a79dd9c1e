"""`airloom.toml`: it marks the root of a project, and says what would otherwise be said by environment variables.

The nearest one upward from the working folder counts, as with git. Its keys are the settings that are no secrets,
called like their variables: `data_remote` is AIRLOOM_DATA_REMOTE. A variable that is set wins. Relative paths count
from the project's root.
"""

import difflib
import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from airloom.errors import ConfigError

FILE = "airloom.toml"
SECRETS = {  # in the environment only
    "server_token": "of the model server",
    "airflow_password": "of `airflow_user`",
    "airflow_token": "instead of a login",
    "alerts_token": "of Alertmanager, instead of `alerts.token` in the state folder",
}


@dataclass(frozen=True)
class Key:
    """A setting: the type of its value, what it says, and an example."""

    kind: type
    says: str
    example: str


PERSONAL = {
    "user": "who does things: `Ada`, or `Ada <ada@example.org>`; else git's user in the project, else the login"
}
KEYS = {
    "home": Key(str, "the state folder, from the project's root; default: `.airloom`", '"/var/lib/airloom"'),
    "namespace": Key(str, "the installation's name, which the state folder keeps once it is made", '"production"'),
    "data_remote": Key(
        str, "the git remote that several homes share their datasets by", '"git@git.example.org:data.git"'
    ),
    "dvc_remote": Key(str, "where the shards lie then: any address that DVC knows", '"s3://team-data/dvc"'),
    "tracking_uri": Key(str, "an MLflow server of your own", '"https://mlflow.example.org"'),
    "mlflow_store": Key(
        str, "the database of that server, which lineage reads", '"postgresql://db.example.org/mlflow"'
    ),
    "database": Key(str, "the database of jobs, deployments and counts", '"postgresql://db.example.org/airloom"'),
    "server_url": Key(str, "a model server of your own", '"https://models.example.org"'),
    "airflow_url": Key(str, "an Airflow of your own", '"https://airflow.example.org"'),
    "airflow_user": Key(str, "who logs in there", '"airloom"'),
    "served_mb": Key(
        int, "MiB of models that the model server holds at once, loaded as they are asked for; default: 0, all", "4096"
    ),
    "served_always": Key(str, "names of models that it loads at its start and keeps then", '"digits, prices"'),
    "prediction_log_share": Key(float, "the share of the predictions that are logged, 0 to 1; default: 1", "0.1"),
    "prediction_log_days": Key(
        float, "how many days of the prediction log the server keeps; default: 90; 0: no limit", "30"
    ),
    "prediction_log_gb": Key(
        float, "how many gigabytes of it, after which the oldest go; default: 10; 0: no limit", "2.5"
    ),
    "alert_runs_per_hour": Key(
        int, "how many runs of a pipeline's monitor alerts may start within an hour; default: 4; 0: none", "2"
    ),
    "metrics_minute_days": Key(int, "how many days the model metrics keep each minute; default: 30; 0: no limit", "90"),
    "metrics_hour_days": Key(
        int, "how many days they keep each hour; default: 400; 0: no limit; days are kept for ever", "800"
    ),
    "trusted_keys": Key(
        str,
        "a file of the keys whose signatures count, instead of the one of the state folder",
        '"/etc/airloom/trusted.json"',
    ),
    "mlflow_login": Key(bool, "whether the stack's MLflow wants a login; default: true", "false"),
    "job_python": Key(
        str, "the Python of the environment that jobs run in, with airloom and torch", '"/srv/training/bin/python"'
    ),
    "devices": Key(int, "so many pretended devices, instead of those found; for tests of one's own", "2"),
    "confine_jobs": Key(
        bool, "whether jobs may write only below the state folder and the folder for temporary files", "true"
    ),
}
_PASSWORD = re.compile(r"://[^/@:]*:[^/@]+@")
_EXAMPLES = {str: 'a text, as in {key} = "…"', float: "a number", int: "a whole number", bool: "true or false"}


def root(folder: Path) -> Path | None:
    """The nearest folder upward that holds the file; None where there is none."""
    folder = Path(os.path.abspath(folder))  # noqa: PTH100 - resolve() would leave a project through a link
    return next((place for place in (folder, *folder.parents) if (place / FILE).is_file()), None)


def outside(folder: Path) -> str:
    """What to say beside a name that is not known in a folder of no project; nothing in a project."""
    if root(folder) is not None:
        return ""
    return f"{folder} lies in no project (no {FILE} from there upward): go to yours, or `airloom init NAME` makes one; "


def values(project: Path | None) -> dict[str, Any]:
    """What the file of a project says, checked; nothing where it is not there.

    Raises:
        ConfigError: it is no TOML, has an unknown key, a value of another type, or a secret.
    """
    if project is None:
        return {}
    path = project / FILE
    try:
        status = path.stat()
        return _read(path, status.st_mtime_ns, status.st_size)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", "look at its permissions") from None


@lru_cache(maxsize=8)
def _read(path: Path, _changed: int, _size: int) -> dict[str, Any]:
    import tomllib

    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: no TOML: {error}", "mend the file") from None
    for key, value in content.items():
        _check(path, key, value)
    return content


def _check(path: Path, key: str, value: Any) -> None:
    if key in SECRETS:
        hint = f"set AIRLOOM_{key.upper()} in the environment, and change the secret if it was committed"
        raise ConfigError(f"{path}: {key} is a secret, and the file belongs into git", hint)
    if key in PERSONAL:
        raise ConfigError(f"{path}: {key} is one person's, and the file is everybody's", f"set AIRLOOM_{key.upper()}")
    if key not in KEYS:
        close = difflib.get_close_matches(key, KEYS, 1)
        guess = f"; did you mean {close[0]!r}?" if close else ""
        raise ConfigError(f"{path}: unknown key {key!r}{guess}", f"the keys are {', '.join(KEYS)}")
    kind = KEYS[key].kind
    right = isinstance(value, kind) or (kind is float and isinstance(value, int))
    if not right or (isinstance(value, bool) and kind is not bool):
        raise ConfigError(f"{path}: {key} = {value!r} is wrong", f"give {_EXAMPLES[kind].format(key=key)}")
    if isinstance(value, str) and _PASSWORD.search(value):
        hint = f"set AIRLOOM_{key.upper()} in the environment, and change the password if it was committed"
        raise ConfigError(f"{path}: {key} holds a password, and the file belongs into git", hint)
