"""Announcing: each dataset version becomes one event of the dataset's asset."""

from typing import TYPE_CHECKING, Any, cast

from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowSkipException

from airloom.errors import ConfigError
from airloom_operators.assets import dataset_asset, repository_asset
from airloom_operators.base import AirloomOperator
from airloom_operators.connections import Place

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airloom.settings import Settings

ANNOUNCED = "announced"  # key of the repository asset's state, a version number
REPOSITORY = "repository"  # another one: the first commit of the data repository, which tells it from others
LOOK_BACK = 50  # events; a person may have sent some with the keys of old versions


class AnnounceVersionOperator(AirloomOperator):
    """Announce the oldest version of a dataset of which Airflow has no event; skip when there is none.

    What was announced is read from Airflow's own events. Airflow records the success of a task and its events in one
    transaction, so a version is announced exactly once, whenever the task is killed, retried or cleared. That holds as
    long as no two of these tasks run at once: give it `max_active_tis_per_dag=1`.

    Args:
        dataset: name of the dataset.
    """

    def __init__(self, *, dataset: str, **kwargs: Any) -> None:
        outlets = [dataset_asset(dataset)]
        super().__init__(outlets=outlets, on_success_callback=keep, **kwargs)
        self.inlets = [dataset_asset(dataset), repository_asset(dataset, Place(self.connection_id, self.project))]
        self.dataset = dataset

    def execute(self, context: "Context") -> dict[str, Any]:
        """Return what the event says of the version."""
        from airloom.datasets import announcements, versions

        with self.step() as settings:
            self._check_repository(context, settings)
        known = announced(context)
        with self.step() as settings:
            newest = versions.highest(settings, self.dataset)  # first: a version that comes now is not passed over
            version = announcements.pending(settings, self.dataset, known)
        if version is None:
            _remember(context, max(newest, known))
            raise AirflowSkipException(f"every version of {self.dataset} up to v{newest} is announced")
        event = context["outlet_events"][self.outlets[0]]
        event.extra = {"dataset": self.dataset, "version": version.number, "rows": version.rows}
        event.extra |= {"id": version.id, "commit": version.commit, "message": version.message}
        event.add_partitions(announcements.partition_key(version.number))
        self.log.info("%s: %s rows, %s", version.name, version.rows, version.message)
        return dict(event.extra)

    def _check_repository(self, context: "Context", settings: "Settings") -> None:
        """Refuse where the versions that Airflow knows of this dataset are those of another data repository.

        Raises:
            ConfigError: they are.
        """
        from airloom.datasets.storage.repository import first_commit

        store, own = context["asset_state_store"][self.inlets[1]], first_commit(settings)
        if not own:
            return
        kept = store.get(REPOSITORY, "")
        if not kept:
            store.set(REPOSITORY, own)
        elif kept != own:
            message = f"dataset {self.dataset} is in this Airflow already, with the versions of another data repository"
            hint = (
                f"call it otherwise, as two projects of one Airflow cannot share a name; or, where its repository was "
                f"begun anew, set the states `{REPOSITORY}` to {own} and `{ANNOUNCED}` to 0 of the asset "
                f"{self.inlets[1].name!r}, with Airflow's REST API"
            )
            raise ConfigError(message, hint)


def announced(context: "Context") -> int:
    """The newest version that this DAG announced.

    Where old events were cleaned away, or Airflow has a new database, what was kept stands in for them.
    """
    from airloom.datasets.announcements import highest_key, kept

    task = cast("AnnounceVersionOperator", context["task"])
    dataset, repository = task.inlets
    events = context["inlet_events"][dataset].ascending(False).limit(LOOK_BACK)
    mine = [event.partition_key for event in events if event.source_dag_id == context["dag"].dag_id]
    state = int(str(context["asset_state_store"][repository].get(ANNOUNCED, 0)))
    return highest_key(mine, max(state, kept(task.settings(), task.dataset)))


def keep(context: "Context") -> None:
    """Keep what Airflow has recorded by now. Nothing is lost where this does not happen."""
    _remember(context, announced(context))


def _remember(context: "Context", number: int) -> None:
    from airloom.datasets import announcements

    task = cast("AnnounceVersionOperator", context["task"])
    store = context["asset_state_store"][task.inlets[1]]
    if store.get(ANNOUNCED, 0) != number:
        store.set(ANNOUNCED, number)
    announcements.keep(task.settings(), task.dataset, number)


def announcer_id(dataset: str) -> str:
    """The announcing DAG of a dataset; no pipeline can have a name with a hyphen."""
    return f"announce-{dataset}"


def build_announcer(dataset: str, connection_id: str = "", project: str = "") -> DAG:
    """The announcing DAG of a dataset: one run, one task, one version.

    Args:
        dataset: its name.
        connection_id: of type `airloom`.
        project: a folder of the project, where neither connection nor environment names one.
    """
    place = Place(connection_id, project)
    with DAG(
        dag_id=announcer_id(dataset),
        schedule=[repository_asset(dataset, place)],
        catchup=False,
        max_active_runs=1,
        is_paused_upon_creation=False,  # whatever Airflow's default is: nothing would say why no version comes
        tags=["airloom", f"dataset:{dataset}"],
        default_args={"owner": "airloom", "retries": 3, "retry_delay": 5, **place.arguments()},
        doc_md=DOCS.format(dataset=dataset),
    ) as dag:
        AnnounceVersionOperator(
            task_id="announce",
            dataset=dataset,
            max_active_tis_per_dag=1,
            priority_weight=100,  # it takes a second, and others wait for it
            weight_rule="absolute",
        )
    return dag


DOCS = """### Announces the versions of dataset `{dataset}`

Each version becomes one event of the asset **dataset {dataset}**, in order, and so one run of each pipeline on it. A
watcher starts this DAG; starting it by hand makes it look now. A skipped run found nothing new. While it is paused,
versions wait; while a *pipeline* is paused, its runs wait.

The asset **repository of {dataset}** keeps the newest announced number as its state `announced`. To skip a backlog, set
it with Airflow's REST API.
"""
