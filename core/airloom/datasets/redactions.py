"""What was forgotten of a dataset, as `<dataset>/redacted.json` on main says it: never which rows they were."""

import json
from dataclasses import dataclass, field
from typing import Any

FILE = "redacted.json"


@dataclass(frozen=True)
class Redaction:
    """What was forgotten of a version: how many rows in all, the id of what is left, and the last forgetting."""

    rows: int
    id: str
    who: str
    when: str
    reason: str


@dataclass
class Redactions:
    """The record of a dataset's forgettings."""

    versions: dict[str, Redaction] = field(default_factory=dict)  # by number
    forgettings: list[dict[str, Any]] = field(default_factory=list)  # who, when, reason, rows, versions; oldest first

    @classmethod
    def from_json(cls, text: str | None) -> "Redactions":
        """Read what `to_json` wrote; none where there is no text."""
        values: dict[str, Any] = json.loads(text) if text else {"versions": {}, "forgettings": []}
        by_number = {number: Redaction(**entry) for number, entry in values["versions"].items()}
        return cls(by_number, values["forgettings"])

    def to_json(self) -> str:
        """As it stands on main."""
        by_number = {number: vars(self.versions[number]) for number in sorted(self.versions, key=int)}
        return json.dumps({"forgettings": self.forgettings, "versions": by_number}, indent=1) + "\n"

    def after(self, forgetting: dict[str, Any], rows: dict[int, int], ids: dict[int, str]) -> "Redactions":
        """The record with one forgetting more.

        Args:
            forgetting: `who`, `when`, `reason`, and how much.
            rows: by version, how many of its rows were forgotten.
            ids: by version, the id of what is left.
        """
        said = {name: forgetting[name] for name in ("who", "when", "reason")}
        by_number = dict(self.versions)
        for number, count in rows.items():
            before = by_number[str(number)].rows if str(number) in by_number else 0
            by_number[str(number)] = Redaction(before + count, ids[number], **said)
        return Redactions(by_number, [*self.forgettings, forgetting])
