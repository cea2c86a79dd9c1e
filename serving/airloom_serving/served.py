"""A model that answers requests, and no more of them at once than the limits say."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Self

from airloom import agreement
from airloom.errors import InstancesRefused
from airloom.golden import Golden
from airloom.inference.instances import InputSignature, Instances, TooMany
from airloom.inference.model import LoadedModel
from airloom.monitoring.log_key import log_key
from airloom.tracking.tags import Tag
from airloom_serving.batches import Arrays, Batches
from airloom_serving.examples import example_of
from airloom_serving.limits import MOST_ASKED, MOST_INSTANCES, MOST_VALUES, THREADS_A_MODEL
from airloom_serving.logged_inputs import InputForm, form_of


class TookTooLong(Exception):
    """The graph was ended at its deadline."""

    status = 504


class Busy(Exception):
    """So many requests wait for this model that one more would only wait in vain."""

    status = 503


class Asleep(Exception):
    """A model that is not in memory is asked.

    Args:
        name: of the model.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is not in memory")
        self.name = name


@dataclass
class ServedModel(LoadedModel):
    """What answers the requests for one registered model."""

    loaded_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    size: int = 0  # bytes of its files
    asked: int = 0  # requests that are answered or wait
    apart: bool = False  # its answer to a row does not depend on the rows beside it
    example: Any = None  # of an instance, as JSON has it; None where it would be large
    inputs: InputForm | None = None  # what the prediction log keeps of its rows; None: nothing

    def _loaded(self, golden: Golden) -> None:
        """A model that looks at the rows beside a row never gets those of two requests at once."""
        self.example = example_of(self, golden)
        if self.steady and golden.rows > 1:  # the checker has tried all of them together only
            first = golden.first()
            self.apart = not agreement.of_golden(first, self.outputs(first.inputs), self.processing)

    def logged_by(self, tags: Mapping[str, str], home: Path) -> Self:
        """Itself, after it is said what the log keeps of its inputs.

        Args:
            tags: of the version.
            home: the state folder, which has the key of the hashes.
        """
        label = f"{self.name} version {self.version}"
        self.inputs = form_of(self.signature, tags.get(Tag.LOG, ""), partial(log_key, home), label)
        return self

    def place(self) -> "Place":
        """A place among the requests that are answered or wait."""
        return Place(self)

    @cached_property
    def pool(self) -> ThreadPoolExecutor:
        """Where large requests are answered, and whatever takes long: a slow model takes no other's threads."""
        return ThreadPoolExecutor(THREADS_A_MODEL, thread_name_prefix=f"model-{self.name[:40]}")

    @cached_property
    def batches(self) -> Batches:
        """Where small requests are answered, together with others."""
        return Batches(self, self.pool, self.short_answers)

    def short_answers(self, inputs: Arrays, outputs: Arrays) -> list[Any] | None:
        """The answers to the rows of several requests, made at once; None where each is to be looked at by itself.

        Args:
            inputs: of the graph, (n, …) by name.
            outputs: likewise.
        """
        if len(outputs) > 1 or (self.task is not None and self.task.name != "classification"):
            return None
        rows = len(next(iter(inputs.values())))
        try:
            answers = self.answered(Instances(rows, 0, 1), [(inputs, outputs)])
        except InstancesRefused:  # one is to blame
            return None
        return None if answers.outside else answers.predictions

    def parse(self, instances: Any, *, no_booleans: bool = False) -> Instances:
        """Judge what came as a list of JSON.

        Args:
            instances: the list.
            no_booleans: whether it is known that none is among them.

        Raises:
            TooMany: a request may hold fewer.
            InstancesRefused: another shape, other types, or numbers that the model does not take.
        """
        self.check_count(len(instances))
        values = self.signature.values
        if len(instances) * values > MOST_VALUES:
            raise TooMany(
                f"at most {max(1, MOST_VALUES // values)} instances a request, as each becomes {values} numbers; "
                f"these are {len(instances)}"
            )
        if no_booleans and isinstance(self.signature, InputSignature):
            return self.limited(self.signature.judge(instances, no_booleans=True))
        return self.limited(super().parse(instances))

    def check_count(self, rows: int) -> None:
        """Ask before anything is made of each row.

        Raises:
            TooMany: a request may hold fewer.
        """
        if rows > MOST_INSTANCES:
            raise TooMany(f"at most {MOST_INSTANCES} instances a request; these are {rows}")

    def limited(self, judged: Instances) -> Instances:
        """The same instances, where they are few enough.

        Raises:
            TooMany: a request may hold fewer.
        """
        self.check_count(judged.rows)
        if judged.rows * judged.width > MOST_VALUES:  # how long rows of any length are is known only now
            fits = max(1, MOST_VALUES // judged.width)
            raise TooMany(
                f"at most {fits} instances a request, as each is filled up to {judged.width} numbers; "
                f"these are {judged.rows}"
            )
        return judged


class Place:
    """A place among the requests that are answered or wait; a generator for each request would cost twice as much."""

    __slots__ = ("_model",)

    def __init__(self, model: ServedModel) -> None:
        self._model = model

    def __enter__(self) -> None:
        """Take it.

        Raises:
            Busy: too many wait already.
        """
        if self._model.asked >= MOST_ASKED:
            raise Busy(f"{self._model.asked} requests wait for {self._model.name}; ask again later")
        self._model.asked += 1

    def __exit__(self, *_: object) -> None:
        """Give it back."""
        self._model.asked -= 1
