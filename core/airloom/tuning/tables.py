"""The two tables of studies, in the database of jobs."""

from sqlalchemy import JSON, BigInteger, Column, Float, Index, Integer, MetaData, String, Table, Text

FREE = "FREE"
metadata = MetaData()
studies = Table(
    "study_states",
    metadata,
    Column("name", String(500), primary_key=True),
    Column("failed", Text, nullable=False, default=""),
    Column("failed_at", Float(53), nullable=False, default=0.0),
    Column("seconds", Float(53), nullable=False, default=0.0),
    Column("beat", Float(53), nullable=False, default=0.0),
    Column("created", Float(53), nullable=False),
)
slots = Table(
    "study_slots",
    metadata,
    Column("study", String(500), primary_key=True),
    Column("slot", Integer, primary_key=True, autoincrement=False),
    Column("state", String(20), nullable=False, default=FREE),
    Column("token", Integer, nullable=False, default=0),
    Column("owner", String(255), nullable=False, default=""),
    Column("worker", Integer, nullable=False, default=-1),
    Column("trial", Integer, nullable=False, default=-1),
    Column("parameters", JSON),
    Column("tries", Integer, nullable=False, default=0),
    Column("faults", Integer, nullable=False, default=0),
    Column("again", Integer, nullable=False, default=0),
    Column("preempted", Integer, nullable=False, default=0),
    Column("step", Integer, nullable=False, default=-1),
    Column("value", Float(53)),
    Column("seconds", Float(53), nullable=False, default=0.0),
    Column("lost", Float(53), nullable=False, default=0.0),
    Column("cpu_seconds", Float(53), nullable=False, default=0.0),
    Column("peak_memory", BigInteger, nullable=False, default=0),
    Column("mlflow_run", String(64), nullable=False, default=""),
    Column("logged", Integer, nullable=False, default=0),
    Column("reason", Text, nullable=False, default=""),
    Index("study_slots_by_state", "study", "state"),
)
