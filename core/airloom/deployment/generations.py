"""The compare-and-swap under the deployment record: one number a model, in the stack's SQL database."""

from sqlalchemy import Column, Engine, Integer, MetaData, String, Table, create_engine, event, select, update
from sqlalchemy.exc import IntegrityError

from airloom.settings import Settings

_METADATA = MetaData()
_TABLE = Table(
    "deployments", _METADATA, Column("model", String, primary_key=True), Column("generation", Integer, nullable=False)
)


def generation(settings: Settings, model: str) -> int:
    """The generation that the next `advance` must name; 0 for a new model."""
    engine = _engine(settings)
    with engine.begin() as connection:
        found = connection.execute(select(_TABLE.c.generation).where(_TABLE.c.model == model)).scalar()
    engine.dispose()
    return int(found or 0)


def advance(settings: Settings, model: str, expected: int) -> bool:
    """Move the generation from `expected` to the next one; False when somebody else did."""
    engine = _engine(settings)
    try:
        with engine.begin() as connection:
            if expected == 0:
                connection.execute(_TABLE.insert().values(model=model, generation=1))
                return True
            condition = (_TABLE.c.model == model) & (_TABLE.c.generation == expected)
            moved = connection.execute(update(_TABLE).where(condition).values(generation=expected + 1))
            return bool(moved.rowcount)
    except IntegrityError:  # another first deployment
        return False
    finally:
        engine.dispose()


def _engine(settings: Settings) -> Engine:
    settings.make_home()
    engine = create_engine(settings.database, connect_args={"timeout": 30})

    @event.listens_for(engine, "connect")
    def _wal(connection: object, _: object) -> None:
        connection.execute("PRAGMA journal_mode=WAL")  # type: ignore[attr-defined] # a DB-API connection

    _METADATA.create_all(engine)
    return engine
