"""A judged request, and what there is to tell."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from airloom.inference.instances import Instances
from airloom.inference.model import Answers, Extras
from airloom_serving.asgi import Answer
from airloom_serving.served import ServedModel

Judge = Callable[[ServedModel], Instances]


class Asks(Protocol):
    """What has a question's model answer it: a server."""

    async def answered(self, question: "Question", form: "Callable[[Told], Answer]", seconds: float = ...) -> Answer:
        """What is sent."""

    async def unseen(self, question: "Question", seconds: float) -> list[Any]:
        """The predictions, which nobody gets."""


class Candidate(Protocol):
    """A version beside the champion, which has its part in a request."""

    async def answer(self, server: Asks, question: "Question", form: "Callable[[Told], Answer]") -> Answer:
        """Answer a question with one of the two."""


class Question(NamedTuple):
    """A judged request.

    Attributes:
        model: that answers.
        instances: as it takes them.
        judge: makes the same of them for another version.
        extras: what is wanted besides.
        raw: whether the graph's own outputs are wanted.
        beside: the candidate beside the model, where the request counts for its rollout.
        champion: the model that answers where the candidate does not.
        role: what the model is for the request: canary, shadow, or "" for the champion.
        shadow: whether the candidate answers after it.
    """

    model: ServedModel
    instances: Instances
    judge: Judge | None = None
    extras: Extras = Extras()
    raw: bool = False
    beside: Candidate | None = None
    champion: ServedModel | None = None
    role: str = ""
    shadow: bool = False

    def of(self, model: ServedModel, role: str) -> "Question":
        """The same, asked of another version.

        Raises:
            InstancesRefused: it does not take the instances.
        """
        assert self.judge is not None  # noqa: S101 - whoever asks two versions gives one
        return self._replace(model=model, instances=self.judge(model), role=role)


class Told(NamedTuple):
    """What there is to tell.

    Attributes:
        model: that answered.
        answers: one for each instance.
        ids: of the predictions.
        outputs: of the graph, (n, …) by name, where they were wanted.
    """

    model: ServedModel
    answers: Answers
    ids: list[str]
    outputs: dict[str, Any]
