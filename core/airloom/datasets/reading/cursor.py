"""Where a loader stands: small enough for every checkpoint, and good at any number of ranks."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from airloom.errors import ConfigError


@dataclass(frozen=True)
class Cursor:
    """`position`: rows of the epoch that all ranks together have been given."""

    snapshot: str
    seed: int
    epoch: int = 0
    position: int = 0
    order: str = ""  # what the order depends on besides the seed

    def state(self) -> dict[str, Any]:
        """As plain JSON."""
        state = asdict(self)
        return state if self.order else {name: value for name, value in state.items() if name != "order"}


def resumed(state: Mapping[str, Any], snapshot: str, rows: int, order: str = "") -> Cursor:
    """The cursor of a saved state.

    Raises:
        ConfigError: the state is of another snapshot or order, or no state.
    """
    hint = "pass what state_dict() of a loader returned, unchanged"
    if not isinstance(state, Mapping) or set(state) - {"order"} != {"snapshot", "seed", "epoch", "position"}:
        raise ConfigError(f"no loader state: {str(state)[:200]}", hint)
    for name in ("seed", "epoch", "position"):
        if type(state[name]) is not int or state[name] < 0:
            raise ConfigError(f"loader state: {name} is {state[name]!r}, not an integer from 0 up", hint)
    if state["snapshot"] != snapshot:
        message = f"the loader state is of snapshot {state['snapshot']}, this is {snapshot}"
        raise ConfigError(message, "fetch the snapshot that the state was saved with, or start without a state")
    if state.get("order", "") != order:
        ways = [way or "any rows together" for way in (state.get("order", ""), order)]
        message = f"the loader state is of batches {ways[0]}, this loader makes them {ways[1]}"
        raise ConfigError(message, "keep by_length, and with it the batch size, or start without a state")
    if state["position"] > rows:
        raise ConfigError(f"loader state: position {state['position']} is beyond the {rows} rows", hint)
    return Cursor(**state)
