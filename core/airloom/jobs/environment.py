"""What a child process sees of the parent's environment: a short list, so no Airflow secret leaks into user code."""

from collections.abc import Mapping

from airloom.settings import Settings

_NAMES = {
    "PATH",
    "HOME",
    "LANG",
    "TMPDIR",
    "TZ",
    "PYTHONPATH",
    "VIRTUAL_ENV",
    "LD_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES",
}
_PREFIXES = ("LC_", "AIRLOOM_", "MLFLOW_")
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def child_environment(settings: Settings, threads: int, parent: Mapping[str, str]) -> dict[str, str]:
    """The allowed variables of `parent`, the same settings, and the number of threads."""
    allowed = {name: value for name, value in parent.items() if name in _NAMES or name.startswith(_PREFIXES)}
    own = {
        "AIRLOOM_HOME": str(settings.home),
        "AIRLOOM_PROJECT": str(settings.project),
        "AIRLOOM_TRACKING_URI": settings.tracking_uri,
        "PYTHONUNBUFFERED": "1",
    }
    return {**allowed, **{name: value for name, value in own.items() if value}, **dict.fromkeys(_THREADS, str(threads))}
