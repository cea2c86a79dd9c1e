"""What a submitter hands to an attempt's supervisor and child: `launch.json`, written and read here."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from airloom.contracts import Record
from airloom.errors import ConfigError
from airloom.jobs import files
from airloom.jobs.spec import PROTOCOL, JobSpec


@dataclass(frozen=True)
class Launch(Record):
    """One attempt, as it is launched.

    `id`, `token` and `protocol` keep their names in every protocol: by them an airloom of another one is refused.

    Attributes:
        id: of the attempt in the table.
        token: of its supervisor's claim.
        key: of the job.
        number: of the attempt, from 1.
        host: name of this machine in the table.
        home: the state folder of the installation.
        project: root of the user's project.
        state: the folder that survives attempts.
        spec: what to run.
        pretended: devices that exist in name only.
        confined: it may write below some folders only.
        protocol: of the airloom that submitted it.
    """

    id: int
    token: int
    key: str
    number: int
    host: str
    home: str
    project: str
    state: str
    spec: JobSpec
    pretended: int
    confined: bool
    protocol: int = PROTOCOL

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Rebuild the specification too."""
        return cls(**{**values, "spec": JobSpec.from_dict(values["spec"])})


def write_launch(folder: Path, launch: Launch) -> None:
    """Write the record into the folder of its attempt."""
    files.write(folder / files.LAUNCH, launch.to_dict())


def read_launch(folder: Path) -> Launch:
    """The record in the folder of an attempt.

    Raises:
        ConfigError: there is none, or an airloom of another protocol wrote it.
    """
    values = files.read(folder / files.LAUNCH)
    if values is None:
        raise ConfigError(f"{folder} has no {files.LAUNCH}", "submit the job again")
    if values.get("protocol") != PROTOCOL:
        message = f"this airloom speaks protocol {PROTOCOL} of jobs, the submitter's {values.get('protocol')}"
        hint = f"install the same airloom for {sys.executable}, and submit the job again: clear its task, or retry it"
        raise ConfigError(message, hint)
    return Launch.from_dict(values)
