"""What a job sees of its submitter's environment: a short list, so that no secret of Airflow reaches user code."""

from collections.abc import Iterable, Mapping

_NAMES = {
    *("PATH", "HOME", "LANG", "TMPDIR", "TZ", "PYTHONPATH", "LD_LIBRARY_PATH", "SSL_CERT_FILE"),
    *("MPLCONFIGDIR", "DVC_SITE_CACHE_DIR", "DO_NOT_TRACK"),
    *("HF_HOME", "HF_HUB_CACHE", "HF_ENDPOINT", "HF_HUB_OFFLINE"),  # where a hub's models lie
}
_PREFIXES = ("LC_", "MLFLOW_", "XDG_")
OWN = {  # those that `Settings.as_environment` has too
    "AIRLOOM_HOME",
    "AIRLOOM_PROJECT",
    "AIRLOOM_DATABASE",
    "AIRLOOM_TRACKING_URI",
    "AIRLOOM_DATA_REMOTE",
    "AIRLOOM_DVC_REMOTE",
    "AIRLOOM_TRUSTED_KEYS",
    "AIRLOOM_JOB_PYTHON",
}
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def allowed(parent: Mapping[str, str], further: Iterable[str] = ()) -> dict[str, str]:
    """The variables of `parent` that a job may see; `further` names more of them, for example credentials."""
    names = {*_NAMES, *OWN, *further}
    return {n: v for n, v in parent.items() if n in names or n.startswith(_PREFIXES)}


def limits(threads: int, devices: list[str]) -> dict[str, str]:
    """The variables that tell libraries how many threads and which devices they have."""
    numbers = ",".join(name.rpartition(":")[2] for name in devices)
    visible = {"CUDA_VISIBLE_DEVICES": numbers, "AIRLOOM_JOB_DEVICES": ",".join(devices), "PYTHONUNBUFFERED": "1"}
    return {**dict.fromkeys(_THREADS, str(threads)), **visible, "OMP_WAIT_POLICY": "PASSIVE"}
