"""Every error that Airloom raises on purpose.

AirloomError
├── ConfigError          a pipeline file, setting or argument is wrong
│   └── NameRefused          a name of a metric or parameter that MLflow does not take
├── StateError           the state is of another release
├── DataError            a dataset, version, batch or shard
│   ├── ValidationFailed     a batch did not pass its suite (carries the report's path)
│   ├── NothingChanged       the commit holds what the newest version holds already
│   ├── Redacted             rows of the version were forgotten: it is no longer what its id says
│   ├── CorruptFile          a file is not what was written
│   ├── InstancesRefused     rows do not fit a model, or it has no answer to them
│   └── DataAway             the data remote or the disk fails, or others wrote first: a retry may do
├── JobError             the jobs layer: no such attempt, an attempt that does not end
│   ├── JobsAway             the database of jobs and studies does not answer
│   └── JobFailed            a job ended badly (carries the reason and the log's path)
│       └── JobLost              nobody saw it end, or it was stopped: it goes on from its checkpoint
├── StoppedByRequest     a job was asked to end, saved its checkpoint, and goes on later
├── GateError            the gate could not decide; this is never a pass
├── RegistryError        registry, lineage or deployment record
│   ├── SignatureRefused     a model version is not signed, or not by a key that is trusted
│   ├── KeyRefused           the key that signs is lost, or open to others
│   ├── MlflowAway           MLflow does not answer
│   └── MlflowRefused        MLflow answers, and does not take it
└── StackError           the embedded stack
"""

from typing import Any


class AirloomError(Exception):
    """Base of all. The message says what is wrong, with which value; `hint` says what to do next."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  -> {self.hint}" if self.hint else self.message


class StateError(AirloomError):
    """The state folder, or a database, is of another release. Nothing was written to it."""


class ConfigError(AirloomError):
    """A pipeline file, a setting or an argument is wrong."""


class NameRefused(ConfigError):
    """MLflow takes no metric or parameter of this name. No other parameters and no retry would change it."""


class DataError(AirloomError):
    """A dataset, version, batch or shard is missing or unusable.

    `where` has what is known of the place, as JSON has it: `row` counted from 0, `input`, `value`.
    """

    def __init__(self, message: str, hint: str = "", **where: Any) -> None:
        super().__init__(message, hint)
        self.where = where


class ValidationFailed(DataError):
    """A batch did not pass its expectations; `report` is the path of the readable report."""

    def __init__(self, message: str, hint: str = "", report: str = "") -> None:
        super().__init__(message, hint)
        self.report = report


class NothingChanged(DataError):
    """The commit would make a version equal to the newest one."""


class Redacted(DataError):
    """Rows of the version were forgotten since. What is left is read only where that is asked for."""


class CorruptFile(DataError):
    """A file of Airloom's is not what was written: its digest is another, or it cannot be read."""


class InstancesRefused(DataError):
    """Rows do not fit a model, or it has no answer to them; the message says which one, and what was expected."""


class DataAway(DataError):
    """The data remote or the disk fails, or others wrote first. Nothing is wrong with the data: a retry may do."""


class JobError(AirloomError):
    """The jobs layer: there is no such attempt, or an attempt does not end."""


class JobsAway(JobError):
    """The database of jobs and studies does not answer, or refuses. Jobs go on; a retry looks again."""


class JobFailed(JobError):
    """A job failed; `log` is its log file, `cause` the name of the error's class that it ended with."""

    def __init__(self, message: str, hint: str = "", log: str = "", cause: str = "") -> None:
        super().__init__(message, hint)
        self.log = log
        self.cause = cause


class JobLost(JobFailed):
    """A job was stopped, or nobody saw it end; submitted again, it goes on from its checkpoint."""


class StoppedByRequest(AirloomError):
    """A job was asked to end. Its checkpoint is saved; the next attempt goes on from there."""


class GateError(AirloomError):
    """Evidence is missing or unreadable. A gate that cannot decide never lets a candidate pass."""


class RegistryError(AirloomError):
    """The model registry, its lineage or the deployment record."""


class SignatureRefused(RegistryError):
    """A model version is not signed, or not by a key that is trusted here. Nothing of it was read."""


class KeyRefused(RegistryError):
    """The key that signs model versions is lost, cannot be read, or others may read it."""


class MlflowAway(RegistryError):
    """MLflow does not answer. Nothing is wrong with the work itself: a retry continues it."""


class MlflowRefused(RegistryError):
    """MLflow answers, and does not take what it was sent: a retry would send the same again."""


class StackError(AirloomError):
    """The embedded stack: a port, a process, a health check."""
