"""Reading the counters, without what writing them imports."""

from airloom.settings import Settings
from airloom.sql_reader import Reader

TABLE = "prediction_counts"


def predictions(settings: Settings) -> dict[tuple[str, str], int]:
    """Predictions by model and version; empty where no server has ever counted.

    Raises:
        RegistryError: the database cannot be read, so that nobody knows how many there are.
    """
    read = Reader(settings.database_address)
    if not read.has(TABLE):
        return {}
    rows = read.rows("SELECT model, version, SUM(total) FROM prediction_counts GROUP BY model, version")
    return {(model, version): int(total) for model, version, total in rows}
