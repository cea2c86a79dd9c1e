"""What a check of `airloom doctor` found."""

from dataclasses import dataclass

from airloom.contracts import Record


@dataclass(frozen=True)
class Finding(Record):
    """The outcome of one check, and the fix where it failed."""

    check: str
    ok: bool
    detail: str
    fix: str = ""
