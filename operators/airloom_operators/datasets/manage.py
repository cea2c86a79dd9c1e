"""Name a version, delete a version: both only write to git."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airloom_operators.base import AirloomOperator, who

if TYPE_CHECKING:
    from airflow.sdk import Context


class TagDatasetOperator(AirloomOperator):
    """Give a version a name of its own, such as `digits@golden`.

    Args:
        version: `digits` (the newest), `digits@v2` or another tag.
        tag: the name.
        move: take it from another version.
    """

    template_fields: Sequence[str] = ("version", "tag")

    def __init__(self, *, version: str, tag: str, move: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.version = version
        self.tag = tag
        self.move = move

    def execute(self, context: "Context") -> dict[str, Any]:  # noqa: ARG002 - everything came as arguments
        """Return `{"tag", "version"}`."""
        from airloom.datasets import tag_delete, versions

        with self.step() as settings:
            version = versions.find(settings, self.version)
            return {"tag": tag_delete.tag(settings, version, self.tag, move=self.move), "version": version.name}


class DeleteDatasetOperator(AirloomOperator):
    """Delete a version, or with a bare name all of a dataset. Its data stay until they are collected.

    Args:
        name: `digits@v2`, or `digits`.
        reason: why; it is recorded.
        author: who says so; by default the user who triggered the DAG run, else the service.
    """

    template_fields: Sequence[str] = ("name", "reason", "author")

    def __init__(self, *, name: str, reason: str, author: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.name = name
        self.reason = reason
        self.author = author

    def execute(self, context: "Context") -> dict[str, Any]:
        """Return `{"deleted": […]}`."""
        from airloom.datasets import tag_delete

        with self.step() as settings:
            author = self.author or who(context, settings)
            gone = tag_delete.delete(settings, self.name, reason=self.reason, author=author)
            return {"deleted": [version.name for version in gone]}
