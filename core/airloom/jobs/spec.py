"""What a job is asked to run, and with what."""

from dataclasses import dataclass, field
from typing import Any

from airloom.contracts import Record
from airloom.errors import ConfigError

# Of `launch.json`, and of the addresses of job functions in it: raise it when the record changes, or a job function
# moves. Where submitter, supervisor and child (which may be of another environment) differ, the attempt is refused.
PROTOCOL = 2


@dataclass(frozen=True)
class Resources(Record):
    """What a job may use.

    Attributes:
        devices: whole devices, leased all or none.
        processes: ranks that train together; more than one run under torchrun.
        threads: CPU threads of one process; the job is bound to `threads * processes` CPUs where there are more.
        memory: bytes of all its processes together, 0 for no limit.
        time: seconds of wall time, counted from its start.
    """

    devices: int = 0
    processes: int = 1
    threads: int = 1
    memory: int = 0
    time: float = 600

    def __post_init__(self) -> None:
        wrong = [name for name in ("devices", "memory") if getattr(self, name) < 0]
        wrong += [name for name in ("processes", "threads", "time") if getattr(self, name) <= 0]
        if wrong:
            raise ConfigError(f"resources.{wrong[0]} is {getattr(self, wrong[0])}", "give a positive number")


@dataclass(frozen=True)
class JobSpec(Record):
    """A program: either a function of ours (`step`) with JSON arguments, or a command.

    Attributes:
        step: `module:function`, taking and returning JSON.
        arguments: of the step.
        command: words to run instead; a result file `result.json` is optional then.
        resources: what it may use.
        interpreter: Python for a step; "" for the submitter's own. It needs airloom, not Airflow.
        folder: working folder; "" for the project's root, or for a command the attempt's own `work`.
        environment: names of further variables of the submitter that the job may see, for example credentials.
        variables: further variables with their values; no secrets, they stand in the specification.
        writable: folders outside the state folder that it may write to.
    """

    step: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    command: list[str] = field(default_factory=list)
    resources: Resources = field(default_factory=Resources)
    interpreter: str = ""
    folder: str = ""
    environment: list[str] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)
    writable: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if bool(self.step) == bool(self.command):
            raise ConfigError("a job is either a step or a command", "give one of them")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "JobSpec":
        """Rebuild the resources too."""
        return cls(**{**values, "resources": Resources(**values["resources"])})

    @property
    def name(self) -> str:
        """What people call it."""
        return self.step or " ".join(self.command)[:200]
