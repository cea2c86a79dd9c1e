"""What the wheel has of this repository beside the packages: the demo's project and the lock, for who has no clone."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

DEMO = (
    "configs/pipelines/digits.yaml",
    "configs/expectations/digits.json",
    "examples/digits/model.py",
    "examples/digits/mlp.py",
    "dags/pipelines.py",
    "airloom.toml",
)


class Packed(BuildHookInterface[Any]):
    """Not of an editable install, which finds them where they are."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Name the files for hatchling."""
        if version == "standard":
            files = {path: f"airloom/project/templates/demo/{path}" for path in DEMO}
            build_data["force_include"].update(files | {"constraints.txt": "airloom/constraints.txt"})
