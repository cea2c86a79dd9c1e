"""What happens before and after a model's graph: a fixed, declared set, so that training, evaluation and server agree.

What torch can express (`airloom.training.Normalise`, any layer) belongs into the model and is exported with it. The
rest stands in `processing.json` beside the model, data without any code:

    columns     names of numeric columns, stacked in this order to one row; default for tables: all, in their order
    tokenise    text to token numbers: lower case if asked, words and signs apart, 0 fills up, 1 is any unknown token
    classes     the label of each class as the data have it, in the order of the outputs; by itself for labels that are
                text, whole numbers or booleans. Models are compared by the names of these
    labels      what is answered in place of each class
    threshold   for a model with one output: class 1 where its probability (sigmoid) reaches this
    pixels      what those who ask give: `unit` for 0..1, `bytes` for 0..255; any other value is refused
    picture     mode and size of pictures that are given as files: PNG, JPEG or WebP
    task        what the answers are for, where the pipeline file says it: decides what is answered
    observed    smallest and largest value of columns of numbers in training: what lies beyond is answered, and counted
    inputs      of a graph of several inputs: what becomes each of them, by its name; see `airloom.inputs.declared`.
                An input that does not stand here takes the column of its own name, as it is
"""

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    ValidationError,
    field_validator,
    model_validator,
)

from airloom.classes import Label, name_of
from airloom.errors import ConfigError, CorruptFile, DataError
from airloom.inputs.declared import InputProcessing
from airloom.inputs.pixels import Pixels
from airloom.inputs.prepare import Rows, columns_of, prepare
from airloom.inputs.tokenise import Tokenise
from airloom.pictures import MOST_PIXELS, Picture
from airloom.signature import Port, Signature

Array = np.ndarray[Any, Any]
FILE = "processing.json"
LARGEST = 64 * 2**20  # bytes of the file
MOST_CLASSES, LONGEST_NAME = 100_000, 1000
Name = Annotated[str, Field(max_length=LONGEST_NAME)]  # of a class or a column: each answer repeats one
Class = StrictBool | StrictInt | Name


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Processing(_Part):
    """What goes before and after the graph."""

    columns: list[Name] = Field(default=[], max_length=100_000)
    tokenise: Tokenise | None = None
    classes: list[Class] = Field(default=[], max_length=MOST_CLASSES)
    labels: list[Name] = Field(default=[], max_length=MOST_CLASSES)
    threshold: float | None = Field(default=None, gt=0, lt=1)
    pixels: Pixels | None = None
    picture: Picture | None = None
    task: str = Field(default="", max_length=64)
    observed: dict[Name, tuple[float, float]] = Field(default={}, max_length=100_000)
    inputs: dict[Name, InputProcessing] = Field(default={}, max_length=1000)

    def arrays(self, raw: Any, signature: Signature) -> dict[str, Array]:
        """What the graph takes, by input, of rows as a dataset's type gives them: an array, texts, or a dict by column.

        Args:
            raw: the rows.
            signature: of the graph.

        Raises:
            DataError: they are of another kind than the model was trained on.
        """
        port = signature.inputs[0]
        uneven = port.is_open and isinstance(raw, list) and self.tokenise is None and self.picture is None
        if self.takes_columns(signature) or uneven:
            parts = self.parts(signature)
            return prepare(signature, parts, columns_of(raw, signature, parts), Rows())
        plain = isinstance(raw, np.ndarray) and raw.dtype.kind in "biu" and port.is_whole
        values = raw if plain else self.single(raw)  # as float32 large ones would not be themselves
        return {port.name: _typed(values, port)}

    def takes_columns(self, signature: Signature) -> bool:
        """Whether rows have columns, from which `inputs` says what the graph is given; else one thing without a name.

        Args:
            signature: of the graph.
        """
        return bool(self.inputs) or not signature.is_single

    @property
    def has_fixed_size(self) -> bool:
        """Whether it makes rows of one size, whatever the graph would take."""
        return bool(self.columns or self.tokenise or self.picture)

    def parts(self, signature: Signature) -> dict[str, InputProcessing]:
        """What goes before each input, by its name; of a graph of one input what stands beside `inputs`.

        Args:
            signature: of the graph.
        """
        if self.takes_columns(signature) or self.pixels is None:
            return self.inputs
        return {signature.inputs[0].name: InputProcessing(pixels=self.pixels)}

    def single(self, raw: Any) -> Array:
        """The same for a graph of one input: float32, or int64 of texts.

        Raises:
            DataError: they are of another kind than the model was trained on.
        """
        if self.tokenise is not None:
            if not isinstance(raw, list) or not all(isinstance(text, str) for text in raw):
                hint = "give a list of text, or a dataset of type text"
                raise DataError(f"the model takes texts{_instead(raw)}", hint)
            return self.tokenise(raw)
        if self.picture is not None:
            if not isinstance(raw, list) or any(isinstance(cell, str) for cell in raw):
                hint = "give a list of their bytes, or a dataset of pictures"
                raise DataError(f"the model takes picture files{_instead(raw)}", hint)
            return self.pictures(raw)
        if isinstance(raw, dict):
            return self._stacked(raw)
        if isinstance(raw, list) and raw and isinstance(raw[0], bytes):
            raise DataError("the model takes numbers, and these are files", "deploy a model that was trained on files")
        values = np.asarray(raw)
        if values.dtype.kind not in "biuf":
            raise DataError(
                f"the model takes numbers, not {values.dtype}", "text needs Tokenise; see docs/how-to/gate.md"
            )
        if values.dtype == np.uint8 and values.ndim > 2:
            return values / np.float32(255)  # images of bytes, as in training
        return values.astype(np.float32, copy=False)

    def pictures(
        self, files: Sequence[bytes], first: int = 0, kind: str = "row", most_pixels: int = MOST_PIXELS
    ) -> Array:
        """float32 0..1 (n, c, h, w) of picture files; see `Picture.frames`."""
        assert self.picture is not None  # noqa: S101 - asked of a model of pictures only
        return self.picture.frames(files, first, kind, most_pixels) / np.float32(255)

    def _stacked(self, raw: dict[str, Any]) -> Array:
        columns = self.columns or [name for name, cells in raw.items() if np.asarray(cells).dtype.kind in "biuf"]
        missing = [name for name in columns if name not in raw]
        if missing or not columns:
            raise DataError(f"there is no column {', '.join(missing) or 'of numbers'}", f"there are {', '.join(raw)}")
        parts = [np.asarray(raw[name], np.float32) for name in columns]
        return parts[0] if len(parts) == 1 and parts[0].ndim > 1 else np.stack(parts, axis=1)

    def outside(self, values: Array) -> int:
        """How many rows (n, columns) have a value that training has never seen the like of."""
        names = self.columns or list(self.observed)
        if not self.observed or values.ndim != 2 or values.shape[1] != len(names):
            return 0
        anything = (-np.inf, np.inf)
        low, high = np.array([self.observed.get(name, anything) for name in names], np.float32).T
        return int(((values < low) | (values > high)).any(axis=1).sum())

    @property
    def classifies(self) -> bool:
        """Whether an answer is one class of several, as far as this says."""
        return self.task in ("", "classification")

    def scores(self, outputs: Array) -> Array:
        """Logits, (n, classes), of the graph's outputs; a single output becomes two classes with `threshold`."""
        if self.threshold is None or not self.classifies:
            return outputs
        single = outputs.reshape(len(outputs)).astype(np.float64)
        shift = np.log(self.threshold / (1 - self.threshold))
        return np.stack([np.full_like(single, shift), single], axis=1)

    def probabilities(self, outputs: Array) -> Array:
        """Of each class, float64 (n, classes): softmax of the graph's outputs, sigmoid of a single one."""
        logits = outputs.astype(np.float64)
        if self.threshold is not None:
            single = logits.reshape(len(logits), 1)
            logits = np.hstack([np.zeros_like(single), single])  # where the threshold lies changes no probability
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)  # type: ignore[no-any-return]

    @model_validator(mode="after")
    def _one_place(self) -> "Processing":
        flat = [name for name in ("columns", "tokenise", "picture") if getattr(self, name)]
        if self.inputs and flat:
            raise ValueError(f"{flat[0]} stands beside inputs: say it of one of these")
        return self

    @field_validator("classes")
    @classmethod
    def _each_class_once(cls, classes: list[Label]) -> list[Label]:
        if len({name_of(label) for label in classes}) < len(classes):
            raise ValueError("a class stands twice")
        return classes

    def of_classes(self, labels: Sequence[Label]) -> "Processing":
        """The same for a model whose labels in training were the places in this list; what names its own stays.

        Raises:
            ConfigError: `labels` of it are neither these names nor others for each of them.
        """
        if self.classes or not labels:
            return self
        names, given = [name_of(label) for label in labels], self.labels
        if given == names:
            return self.model_copy(update={"classes": list(labels), "labels": []})
        if given and (len(given) != len(names) or set(given) & set(names)):
            message = f"labels names {len(given)} classes: {_few(given)}; the data have {len(names)}: {_few(names)}"
            hint = "leave labels out: the names come by themselves, in the order of run.classes; a model that numbers"
            raise ConfigError(message, f"{hint} its classes itself says their order: Processing(classes=[…])")
        if len(names) > MOST_CLASSES or max(map(len, names)) > LONGEST_NAME:
            message = f"{len(names)} classes with names of up to {max(map(len, names))} characters"
            raise ConfigError(message, f"at most {MOST_CLASSES}, each of {LONGEST_NAME}; is the label a class?")
        return self.model_copy(update={"classes": list(labels)})

    def class_names(self, outputs: int) -> list[str]:
        """The name of the class of each of so many outputs; one without a class has a name that no class has.

        A model that keeps no classes, as those of earlier releases, calls each as its number.
        """
        if not self.classes:
            return [str(number) for number in range(outputs)]
        named = [name_of(label) for label in self.classes[:outputs]]
        return named + [_unnamed(number) for number in range(len(named), outputs)]

    def names(self, numbers: Sequence[int]) -> list[Any]:
        """What is answered for outputs: classes; without any their numbers."""
        answers: Sequence[Any] = self.labels or self.classes
        if not self.classes:
            return [answers[number] if number < len(answers) else number for number in numbers]
        return [answers[number] if number < len(answers) else _unnamed(number) for number in numbers]


def parse(data: bytes) -> Processing:
    """The processing of a `processing.json` whose digest was checked.

    Raises:
        CorruptFile: it is no such file, or a larger one than any model needs.
    """
    if len(data) > LARGEST:
        raise CorruptFile(f"{FILE} has {len(data)} bytes, at most {LARGEST} are read", "use a smaller vocabulary")
    try:
        return Processing.model_validate_json(data)
    except ValidationError as error:
        raise CorruptFile(
            f"{FILE} is no processing of Airloom: {str(error)[:300]}", "register the model again"
        ) from None


_NONE = np.zeros(0, np.int64)


def not_finite(outputs: Array, every: bool = False) -> Array:
    """The rows, (k,), whose outputs (n, …) are no answer: NaN, or infinite.

    Among the scores of classes a minus infinity is one: the class that cannot be (the logarithm of 0).

    Args:
        outputs: of one output of the graph.
        every: whether each number is to be finite, as none of them is a score.
    """
    good = np.isfinite(outputs.reshape(len(outputs), -1))
    if good.all():  # nearly always
        return _NONE
    rows = outputs.reshape(len(outputs), -1)
    if rows.shape[1] > 1 and not every:
        good = (good | np.isneginf(rows)) & good.any(axis=1, keepdims=True)
    return np.flatnonzero(~good.all(axis=1))


def _typed(values: Array, port: Port) -> Array:
    """The values in the type of an input, where nothing of them is lost."""
    if str(values.dtype) == port.dtype:
        return values
    typed = values.astype(port.dtype)
    if port.dtype.startswith("float") or np.array_equal(typed, values):
        return typed
    raise DataError(f"the model's input {port.name!a} takes {port.dtype}, and these rows hold other numbers")


def _unnamed(number: int) -> str:
    """An output that was trained with no class."""
    return f"(output {number})"


def _few(names: Sequence[str]) -> str:
    return ", ".join(map(ascii, names[:10])) + (", …" if len(names) > 10 else "")


def _instead(raw: Any) -> str:
    """What rows of a table have, where something else was asked for."""
    return f", and these rows have the columns {_few([str(name) for name in raw])}" if isinstance(raw, dict) else ""
