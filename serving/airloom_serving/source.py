"""Where the models of a server come from: the registry, or a package of one."""

from concurrent.futures import Future
from dataclasses import dataclass

from airloom.deployment.rollout import Rollout
from airloom_serving.beside import Beside
from airloom_serving.served import ServedModel
from airloom_serving.shelf import Shelf


@dataclass(frozen=True)
class Loading:
    """A version that is on its way."""

    version: str
    since: str  # ISO 8601, UTC


class Source:
    """What a server asks of it; by itself it has no model."""

    def __init__(self, shelf: Shelf | None = None) -> None:
        self.models: dict[str, ServedModel] = {}  # in memory, by short name
        self.besides: dict[str, Beside] = {}  # the candidates that may answer, by the name of their champion
        self.rollouts: dict[str, tuple[int, Rollout]] = {}  # what the registry said last, with the generation
        self.put_back: dict[str, str] = {}  # by model: which version was moved by hand without evidence
        self.errors: dict[str, str] = {}
        self.loading: dict[str, Loading] = {}
        self.shelf = shelf or Shelf(0)

    @property
    def unready(self) -> str:
        """Why no request should come yet; empty for nothing."""
        return ""

    @property
    def known(self) -> list[str]:
        """The models that have a champion, in memory or not."""
        return list(self.models)

    def knows(self, name: str) -> bool:  # noqa: ARG002 - all are in memory
        """Whether a model has a champion that is loaded when it is asked."""
        return False

    def want(self, name: str) -> "Future[None]":
        """Load the champion of a model that is not in memory.

        Args:
            name: of a model that `knows` knows.
        """
        raise NotImplementedError(name)

    def start(self) -> None:
        """Begin to bring them."""

    def stop(self) -> None:
        """Bring no more."""
