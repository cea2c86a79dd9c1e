"""A registered model in this process: `airloom.load_model("digits@champion").predict(rows)` is the server's answer."""

from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, overload

from airloom.errors import ConfigError, StateError
from airloom.names import shown_model
from airloom.settings import Settings, load

if TYPE_CHECKING:
    from airloom.inference.model import LoadedModel
    from airloom.lineage.trace_record import Lineage
    from airloom.registry.model_records import VersionDetails


def load_model(model: str) -> "Model":
    """A version of a registered model, loaded here: no server is asked, nothing is counted or logged.

    As by the server, the signature is verified first (a version that no key trusted here has signed is refused, also
    one of another installation), each file is compared with its digest, and the golden answers must be repeated. The
    server tries a model in a process that may die of it; here it is loaded into the caller's own. A Python model
    (`save_model(serve="python")`) runs in a process of its own, with the code of its commit.

    Example: `airloom.load_model("digits@champion").predict(rows)`

    Args:
        model: `digits/3`, `digits@champion`, or `digits` for the champion; `prod.digits/3` is another installation's.

    Raises:
        SignatureRefused: nobody who is trusted here vouches for it.
        CorruptFile: a file is damaged, or the model answers otherwise than when it was registered.
        RegistryError: there is no such version, its files were collected, or MLflow does not answer.
        ConfigError: ONNX Runtime is not installed; of a Python model torch is not, or the project's repository does not
            have the commit of its code.
    """
    if find_spec("onnxruntime") is None:
        raise ConfigError("onnxruntime, which runs models, is not installed here", "pip install 'airloom[serving]'")
    from airloom.inference.model import LoadedModel
    from airloom.registry import model_files, models, python_models

    settings = load()
    version = models.find(settings, model)
    try:
        folder, digests = model_files.fetch_signed(settings, version, settings.home / "cache" / "models")
    except OSError as error:
        message = f"the model's files cannot be kept in {settings.home / 'cache'}: {error.strerror or error}"
        raise StateError(message, "make room, or set AIRLOOM_HOME to a state folder of your own") from None
    project = python_models.project_of(settings, version)
    shown = shown_model(version.name, settings.installation)
    return Model(settings, LoadedModel.load(shown, str(version.version), folder, digests, project=project))


@dataclass(frozen=True)
class ModelInput:
    """What a model takes of one row.

    Attributes:
        name: of the graph's input; of a model of several inputs that of a row's column.
        dtype: `text`, `picture` (a file of any size), `category`, `number`, or the type of the input.
        shape: of one row's value, an open dimension by its name; () for a text, a picture or a single number.
        columns: of a table, in their order; empty where there are none or the model does not keep them.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    columns: tuple[str, ...] = ()


class Model:
    """A version of a registered model that answers here; `airloom.load_model` makes it."""

    def __init__(self, settings: Settings, loaded: "LoadedModel") -> None:
        self._settings, self._loaded = settings, loaded

    @property
    def name(self) -> str:
        """Of the registered model, as it is called here."""
        return self._loaded.name

    @property
    def version(self) -> str:
        """Its number."""
        return self._loaded.version

    @property
    def classes(self) -> list[Any]:
        """What it may answer, in the order of `scores`; empty where it answers with numbers."""
        return self._loaded.known_classes

    @property
    def inputs(self) -> list[ModelInput]:
        """What it takes."""
        from airloom.inference.columns import ColumnSignature

        signature, name = self._loaded.signature, self._loaded.graph.inputs[0].name
        if isinstance(signature, ColumnSignature):
            return [ModelInput(column.name, column.kind, column.shape) for column in signature.described]
        if signature.processing.tokenise:
            return [ModelInput(name, "text", ())]
        if signature.processing.picture:
            return [ModelInput(name, "picture", ())]
        return [ModelInput(name, "int64" if signature.whole else "float32", signature.shape, tuple(signature.columns))]

    @cached_property
    def details(self) -> "VersionDetails":
        """Everything that the version carries, as `airloom model show` prints it."""
        from airloom.registry import models

        return models.show(self._settings, self._reference)

    @property
    def metrics(self) -> dict[str, float]:
        """On the test split, when it was registered."""
        return self.details.metrics

    @cached_property
    def card(self) -> "Card":
        """The model card; a notebook shows it."""
        from airloom.registry import card, card_pages

        registered = self._settings.registered(self.name)
        return Card(card_pages.markdown(card.card(self._settings, registered, self.version)))

    def trace(self) -> "Lineage":
        """Where it comes from: training, run, snapshot, dataset version, commits; as `airloom trace`."""
        from airloom.lineage.trace import trace

        return trace(self._settings, self._reference)

    @overload
    def predict(self, rows: Any, scores: Literal[False] = False, top: None = None) -> list[Any]: ...

    @overload
    def predict(self, rows: Any, scores: bool = False, top: int | None = None) -> Any: ...

    def predict(self, rows: Any, scores: bool = False, top: int | None = None) -> Any:
        """What the server answers to these rows.

        Args:
            rows: raw rows as the server takes them (lists of numbers, texts; dicts by column of a model of several
                inputs); an array (n, …); pictures, or paths of pictures, which are read as `airloom dataset create`
                reads them; a pandas frame with the columns of a table's model. As many as there are: they are answered
                a part at a time.
            scores: have the probability of each class.
            top: have so many of the most probable classes.

        Returns:
            A class, by name, or a number, for each row; of a model of several outputs a dict by output. With `scores`
            or `top` a dict like the server's answer: `predictions`, `model`, `version`; with `scores` also `classes`
            and `scores`, with `top` also `top`. It has no `prediction_ids`, as nothing is counted or logged.

        Raises:
            InstancesRefused: a row does not fit, or the model has no answer to it; says which row, counted from 0, and
                which value.
            ConfigError: these are no rows, or `scores` or `top` are of another kind.
        """
        from airloom.inference.model import Answers, Extras
        from airloom.interactive.rows import judged

        if type(scores) is not bool:
            raise ConfigError(f"scores is {scores!r:.80}", "it must be True or False")
        if top is not None and (type(top) is not int or top < 1):
            raise ConfigError(f"top is {top!r:.80}", "it must be a whole number, 1 or more")
        answers, extras = Answers(), Extras(scores, top or 0)
        for instances in judged(rows, self._loaded.signature):
            part = self._loaded.answers(instances, extras)
            answers.predictions += part.predictions
            answers.scores += part.scores
            answers.top += part.top
        if not scores and top is None:
            return answers.predictions
        found = {"predictions": answers.predictions, "model": self.name, "version": self.version}
        return found | self._loaded.extras(answers)

    @property
    def _reference(self) -> str:
        return f"{self.name}/{self.version}"

    def __repr__(self) -> str:
        forms = [f"{asked.dtype}{' ' * bool(asked.shape)}{' x '.join(map(str, asked.shape))}" for asked in self.inputs]
        taken = [f"{asked.name} {form}" for asked, form in zip(self.inputs, forms, strict=True)]
        outputs = [port.name for port in self._loaded.graph.outputs]
        some = self.classes or (outputs if len(outputs) > 1 else [])
        told = ", ".join(map(str, some[:10])) + (", …" if len(some) > 10 else "")
        return f"<{self._reference}: {', '.join(taken) if len(taken) > 1 else forms[0]} → {told or 'a number'}>"


class Card(str):
    """A model card as Markdown, which a notebook shows as a page."""

    __slots__ = ()

    def _repr_markdown_(self) -> str:
        return str(self)
