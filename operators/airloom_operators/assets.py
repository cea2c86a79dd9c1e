"""The `airloom://` assets: a dataset, whose events are its versions, and the repository that is watched for them."""

from urllib.parse import SplitResult

from airflow.sdk import Asset, AssetWatcher, PartitionedAssetTimetable

from airloom_operators.connections import Place
from airloom_operators.triggers.dataset import DatasetVersionTrigger

KINDS = ("datasets", "repository")


def sanitize_uri(uri: SplitResult) -> SplitResult:
    """`airloom://datasets/<name>`, `airloom://repository/<name>` and nothing else.

    Raises:
        ValueError: the address has another form.
    """
    name = uri.path.strip("/")
    if uri.netloc not in KINDS or not name or "/" in name or uri.query or uri.fragment:
        raise ValueError(f"{uri.geturl()!r} is no Airloom asset; the form is airloom://datasets/<name>")
    return uri._replace(path=f"/{name}")


def dataset_asset(dataset: str) -> Asset:
    """A dataset: one event a version, with the partition key `vN`."""
    return Asset(name=f"dataset {dataset}", uri=f"airloom://datasets/{dataset}", group="airloom")


def repository_asset(dataset: str, place: Place = Place()) -> Asset:
    """Where the versions of a dataset appear: an event says only that it is worth a look."""
    trigger = DatasetVersionTrigger(dataset=dataset, **place.arguments())
    watcher = AssetWatcher(name=f"{dataset}_versions", trigger=trigger)
    uri = f"airloom://repository/{dataset}"
    return Asset(name=f"repository of {dataset}", uri=uri, group="airloom", watchers=[watcher])


def each_version(dataset: str) -> PartitionedAssetTimetable:
    """A schedule: one run for each version of a dataset, in their order.

    Also for those announced while the DAG is paused, once it is not, unless it has the tag `missed:skip`.
    """
    return PartitionedAssetTimetable(assets=dataset_asset(dataset))
