"""What the wheel has of this repository beside the packages: the demo's project and the lock, for who has no clone."""

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Packed(BuildHookInterface[Any]):
    """Not of an editable install, which finds them where they are."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Name the files for hatchling."""
        if version != "standard":
            return
        sys.path.insert(0, str(Path(self.root) / "core"))  # of the standard library only, as the build has no more
        from airloom.project.scaffold import DEMO

        files = {path: f"airloom/project/templates/demo/{path}" for path in DEMO}
        build_data["force_include"].update(files | {"constraints.txt": "airloom/constraints.txt"})
