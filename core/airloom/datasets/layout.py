"""What the columns of a dataset are: its type, the label, the declared key."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Layout:
    """Roles of the columns; an empty name means that there is no such column."""

    type: str
    label: str = ""
    key: str = ""

    def inputs(self, schema: "pa.Schema") -> list[str]:
        """Every column but label and key, in the schema's order."""
        return [name for name in schema.names if name not in (self.label, self.key)]
