"""Let a batch out of quarantine: a person says why, and the version says so for ever."""

from airloom.contracts import DatasetVersion
from airloom.datasets.commit import commit
from airloom.datasets.validation import quarantine
from airloom.errors import ConfigError
from airloom.settings import Settings


def release(settings: Settings, batch: str, *, who: str, why: str) -> DatasetVersion:
    """Commit the rows of a batch as they were asked for; afterwards it is no longer in quarantine.

    Args:
        settings: of this installation.
        batch: its id.
        who: lets it through.
        why: the reason, recorded in the version.

    Raises:
        ConfigError: no reason is given.
        DataError: there is no such batch, or its rows do not fit the dataset any more.
    """
    if not why.strip():
        raise ConfigError("a release needs a reason", "say with --reason why these rows may be used")
    data, request = quarantine.open_batch(settings, batch)
    version = commit(
        settings,
        request["dataset"],
        data,
        message=request["message"],
        author=request["author"],
        mode=request["mode"],
        tags=request["tags"],
        source=request["source"],
        released=f"{who}: {why}",
        equal_inputs=request.get("equal_inputs", ""),  # neither is in batches of before
        drop_duplicates=request.get("drop_duplicates", False),
    )
    quarantine.drop(settings, batch)
    return version
