"""The ledger over MLflow's own tables. A test compares its answers with those of MLflow's client."""

from collections.abc import Collection

from airloom.errors import RegistryError
from airloom.lineage.ledger import Brief, Ledger, Run, Version
from airloom.settings import Settings
from airloom.sql_reader import MOST, Reader, Row
from airloom.tracking.tags import Tag

TABLES = ("runs", "tags", "params", "registered_models", "model_versions", "model_version_tags")
ALIASES = "registered_model_aliases"
DELETED = "Deleted_Internal"  # MLflow's stage of a version that was deleted
# The primary keys begin with the workspace: naming it lets the database use them.
_WORKSPACE = "workspace IN (SELECT DISTINCT workspace FROM registered_models)"
_LIVE = "SELECT name, version, run_id FROM model_versions WHERE (current_stage <> :gone OR current_stage IS NULL)"


class SqlLedger:
    """Reads MLflow's tables; never writes, never makes one."""

    def __init__(self, address: str) -> None:
        self._read = Reader(address)

    @staticmethod
    def fits(address: str) -> bool:
        """Whether MLflow's tables are there, as this release of Airloom knows them.

        Raises:
            RegistryError: the database cannot be read at all.
        """
        read = Reader(address)
        if not read.has(*TABLES, ALIASES):
            return False
        try:
            read.rows(f"SELECT key, value FROM model_version_tags WHERE {_WORKSPACE} AND version = 0")  # noqa: S608 - ours
            read.rows("SELECT run_uuid, name, status, lifecycle_stage, artifact_uri FROM runs WHERE run_uuid = ''")
        except RegistryError:
            return False
        return True

    def numbers(self) -> list[tuple[str, str, str]]:
        rows = self._read.rows(_LIVE, gone=DELETED)
        return sorted((str(name), str(number), str(run or "")) for name, number, run in rows)

    def version(self, model: str, number: str) -> Version | None:
        rows = self._read.rows(f"{_LIVE} AND name = :name AND version = :number", **_which(model, number), gone=DELETED)
        if not rows:
            return None
        statement = "SELECT key, value FROM model_version_tags WHERE name = :name AND version = :number"
        tags: dict[str, str] = dict(self._read.rows(statement, **_which(model, number)))
        return Version(model, number, str(rows[0][2] or ""), tags)

    def aliases(self) -> dict[str, dict[str, str]]:
        aliases: dict[str, dict[str, str]] = {
            name: {} for (name,) in self._read.rows("SELECT name FROM registered_models")
        }
        for name, alias, number in self._read.rows("SELECT name, alias, version FROM registered_model_aliases"):
            aliases[name][alias] = str(number)
        return aliases

    def run(self, identity: str) -> Run | None:
        wanted = "SELECT name, status, lifecycle_stage, artifact_uri FROM runs WHERE run_uuid = :id"
        for name, status, stage, artifacts in self._read.rows(wanted, id=identity):
            tags, parameters = (
                dict[str, str](self._read.rows(f"SELECT key, value FROM {table} WHERE run_uuid = :id", id=identity))  # noqa: S608 - ours
                for table in ("tags", "params")
            )
            return Run(identity, name or "", status or "", stage == "deleted", artifacts or "", tags, parameters)
        return None

    def briefs(self, identities: Collection[str]) -> list[Brief]:
        wanted = sorted(identities)
        keys, kinds = self._tags_of(Tag.KEY, wanted), self._tags_of(Tag.KIND, wanted)
        rows = self._some("SELECT run_uuid, name, status FROM runs WHERE run_uuid IN (:wanted)", wanted)
        return [
            Brief(run, name or "", status or "", keys.get(run, ""), kinds.get(run, "")) for run, name, status in rows
        ]

    def _tags_of(self, key: str, runs: list[str]) -> dict[str, str]:
        return dict(
            self._some("SELECT run_uuid, value FROM tags WHERE run_uuid IN (:wanted) AND key = :key", runs, key=key)
        )

    def _some(self, statement: str, runs: list[str], **values: str) -> list[Row]:
        """The rows of these runs, whose id is the first column; for very many it is quicker to read all rows."""
        if len(runs) <= MOST:
            return self._read.rows_of(statement, runs, **values)
        wanted = set(runs)
        everything = statement.replace("run_uuid IN (:wanted)", "1 = 1")
        return [row for row in self._read.rows(everything, **values) if row[0] in wanted]

    def tagged_runs(self, key: str, values: Collection[str] | None = None) -> dict[str, str]:
        statement = "SELECT run_uuid, value FROM tags WHERE key = :key"
        if values is None:
            return dict(self._read.rows(statement, key=key))
        return dict(self._read.rows_of(f"{statement} AND value IN (:wanted)", sorted(values), key=key))

    def tagged_versions(self, key: str, values: Collection[str] | None = None) -> dict[tuple[str, str], str]:
        statement = f"SELECT name, version, value FROM model_version_tags WHERE {_WORKSPACE} AND key = :key"  # noqa: S608 - ours
        if values is None:
            rows = self._read.rows(statement, key=key)
        else:
            rows = self._read.rows_of(f"{statement} AND value IN (:wanted)", sorted(values), key=key)
        living = {(name, number) for name, number, _ in self.numbers()}
        return {(name, str(n)): value for name, n, value in rows if (name, str(n)) in living}


def _which(model: str, number: str) -> dict[str, str | int]:
    return {"name": model, "number": int(number)}


def open_ledger(settings: Settings) -> Ledger:
    """The quickest ledger of this installation.

    Raises:
        RegistryError: MLflow's database cannot be read.
    """

    address = settings.mlflow_tables
    if address and SqlLedger.fits(address):
        return SqlLedger(address)
    from airloom.lineage.ledger_client import ClientLedger

    return ClientLedger(settings)
