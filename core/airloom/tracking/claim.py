"""Each installation claims its name in the MLflow that it uses, so that no other one there takes it for its own.

The claim is an experiment without runs, made in one write: its name, which MLflow has once, is that of the
installation, and a tag holds the installation's id. See docs/adr/0036.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, Integer, MetaData, String, Table, insert, select
from sqlalchemy.exc import IntegrityError

from airloom import database, home
from airloom.contracts import Record
from airloom.errors import ConfigError
from airloom.names import owner_of
from airloom.settings import Settings
from airloom.sql_reader import Reader
from airloom.tracking.tags import Tag

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

CLAIM = "airloom-installation"  # the experiment of the one without a name; `.<name>` behind it for any other
RUNS = "airloom/"  # the beginning of the names of experiments with runs; see `runs.experiment_name`
_METADATA = MetaData()
# State folders of several machines that share a database are of one installation: its one row has the id.
_TABLE = Table(
    "installations",
    _METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("name", String(30), nullable=False),
    Column("uuid", String(36), nullable=False),
)
_claimed: set[tuple[str, str, str]] = set()  # by this process


@dataclass(frozen=True)
class Claim(Record):
    """Who may write in an MLflow under a name.

    Attributes:
        name: of the installation; empty for none.
        id: of this one; empty where it has written nothing yet.
        holder: the id of the one that claimed the name there; empty where none did.
        problem: why this one may not write there; empty where it may.
    """

    name: str
    id: str
    holder: str
    problem: str


def claim(settings: Settings, api: "MlflowClient") -> None:
    """Claim the installation's name in its MLflow, before anything is written there; again does no harm.

    Args:
        settings: of this installation.
        api: of MLflow.

    Raises:
        ConfigError: another installation has the name there, or the database is of another one.
    """
    place = (str(settings.home), settings.database_address, settings.mlflow_uri)
    if place in _claimed:
        return
    identity = _identify(settings)
    if look(settings, api, identity).problem:  # asked once more: another process of ours may have been first
        _refuse(settings, look(settings, api, identity))
    _write(settings, api, identity)
    _refuse(settings, look(settings, api, identity))
    _claimed.add(place)


def check(settings: Settings, api: "MlflowClient") -> None:
    """Refuse where another installation has the name, without a write: for who takes away.

    Raises:
        ConfigError: another installation has the name in this MLflow.
    """
    _refuse(settings, look(settings, api, known_id(settings)))


def take_over(settings: Settings, api: "MlflowClient") -> None:
    """Make the name this installation's, whoever had it: where the other one is gone for ever.

    Raises:
        ConfigError: the database is of another installation.
    """
    identity = _identify(settings)
    _write(settings, api, identity)
    experiment = _experiment(api, settings.installation)
    assert experiment is not None  # noqa: S101 - it was written just now
    if experiment.lifecycle_stage != "active":
        api.restore_experiment(experiment.experiment_id)
    api.set_experiment_tag(experiment.experiment_id, Tag.INSTALLATION, identity)


def look(settings: Settings, api: "MlflowClient", identity: str) -> Claim:
    """Who has the installation's name in its MLflow.

    Args:
        settings: of this installation.
        api: of MLflow.
        identity: of this installation; empty where it has none yet.
    """
    name = settings.installation
    experiment = _experiment(api, name)
    holder, problem = experiment.tags.get(Tag.INSTALLATION, "") if experiment else "", ""
    if holder and holder != identity:
        problem = f"{called(name)} is another one there, {holder}"
    elif experiment is None and not _of_before(settings) and (runs := _runs_of(api, name)):
        problem = f"it holds {runs} of {called(name)}, and this state folder is new"
    return Claim(name, identity, holder, problem)


def known_id(settings: Settings) -> str:
    """The id of this installation; empty where it has none yet."""
    if _shares(settings):
        read = Reader(settings.database_address)
        rows = read.rows("SELECT uuid FROM installations") if read.has(_TABLE.name) else []
        if rows:
            return str(rows[0][0])
    written = home.installation(settings.home)
    return written.id if written else ""


def called(name: str) -> str:
    """An installation for people."""
    return f"the installation {name}" if name else "the installation without a name"


def _of_before(settings: Settings) -> bool:
    """Whether the state folder may have written to MLflow before installations claimed their names."""
    written = home.installation(settings.home)
    return written.earlier if written else settings.home.is_dir()


def _refuse(settings: Settings, found: Claim) -> None:
    if found.problem:
        message = f"{settings.home} may not write to MLflow at {settings.mlflow_uri}: {found.problem}"
        name = "AIRLOOM_NAMESPACE=<a name of its own>"
        hint = f"begin this one anew with another AIRLOOM_HOME and {name}; or, if the other is gone for ever, "
        raise ConfigError(message, f"{hint}`airloom installation --take-over`")


def _experiment(api: "MlflowClient", name: str) -> "Experiment | None":
    """The claim of a name; also one that was deleted in MLflow, which keeps its name."""
    return api.get_experiment_by_name(_title(name))


def _title(name: str) -> str:
    return f"{CLAIM}.{name}" if name else CLAIM


def _write(settings: Settings, api: "MlflowClient", identity: str) -> None:
    """Make the claim where there is none."""
    from mlflow.exceptions import MlflowException

    title = _title(settings.installation)
    if api.get_experiment_by_name(title) is not None:
        return
    bare = settings.mlflow_uri.startswith("sqlite:")  # a bare store would use the working folder
    note = f"Claims its name for {called(settings.installation)} of Airloom; has no runs. See `airloom installation`."
    tags: dict[str, Any] = {Tag.INSTALLATION: identity, Tag.NOTE: note}
    try:
        api.create_experiment(title, (settings.home / "mlflow" / "artifacts" / title).as_uri() if bare else None, tags)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":  # another process was first
            raise


def _runs_of(api: "MlflowClient", name: str) -> str:
    """An experiment of an installation of that name; empty where there is none."""
    from mlflow.entities import ViewType

    token: str | None = None
    while True:
        page = api.search_experiments(ViewType.ALL, 1000, f"name LIKE '{RUNS}%'", page_token=token)
        for experiment in page:
            if owner_of(experiment.name.removeprefix(RUNS)) == name:
                return f"the experiment {experiment.name}"
        if not (token := page.token):
            return ""


def _shares(settings: Settings) -> bool:
    """Whether our tables may be those of several state folders."""
    return settings.database_address != f"sqlite:///{settings.home / 'airloom.db'}"


def _identify(settings: Settings) -> str:
    """The installation's id, written down; in a shared database it is that of the state folder that came first.

    Raises:
        ConfigError: the database is of an installation of another name.
    """
    settings.make_home()
    written = home.identify(settings.home)
    if not _shares(settings):
        return written.id
    name, identity = _of_database(settings.database_address, written)
    if name != written.name:
        place = database.named(settings.database_address)
        message = (
            f"the database {place} is of {called(name)}, the state folder {settings.home} of {called(written.name)}"
        )
        raise ConfigError(message, "each installation has a database of its own: set AIRLOOM_DATABASE to another one")
    return identity


def _of_database(address: str, written: home.Installation) -> tuple[str, str]:
    engine = database.engine(address, _METADATA, synchronous="FULL")
    while True:
        try:
            with engine.begin() as connection:
                row = connection.execute(select(_TABLE.c.name, _TABLE.c.uuid)).first()
                if row is not None:
                    return str(row.name), str(row.uuid)
                connection.execute(insert(_TABLE).values(id=1, name=written.name, uuid=written.id))
        except IntegrityError:  # another process was first
            continue
