"""What a training function is given. It knows neither MLflow nor Optuna: a sink takes what it reports."""

import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airloom.errors import ConfigError
from airloom.golden import RTOL
from airloom.names import check_logged, near
from airloom.pictures import Picture
from airloom.processing import Processing
from airloom.project.weights import Pretrained
from airloom.training.adapters import write_adapter
from airloom.training.checkpointing.checkpoints import Checkpoints
from airloom.training.checkpointing.progress import Progress
from airloom.training.checkpointing.state import unwrapped
from airloom.training.export.coded import SERVED_BY
from airloom.training.export.commit_code import check_class
from airloom.training.export.example import Dynamic, Example
from airloom.training.named import Columns, Prepared
from airloom.training.prepared import Prepared as Declared
from airloom.training.reporting.sink import ReportSink, check_finite
from airloom.training.splits import Source
from airloom.training.stopping import Budget
from airloom.training.tracked_loader import TrackedLoader
from airloom.training.world import World, device_of, this_world

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

SPLITS = ("train", "validation")
log = logging.getLogger(__name__)


class TrainingRun:
    """One call of a training function.

    Attributes:
        params: hyperparameters by name.
        seed: seed of every random decision; Python, numpy and torch are seeded with it before the call.
        device: torch device, `cpu` or `cuda:<number>`.
        rank: number of this process.
        world_size: processes that train together.
        progress: where the training stands.
        processing: what `save_model` was told to go before and after the model.
        rtol: by how much of their size the answers of two programs of the model may differ.
        code: the arguments of the module's class, where `save_model` was told to keep it as Python; else None.
    """

    def __init__(
        self,
        params: dict[str, Any],
        seed: int,
        source: Source,
        sink: ReportSink,
        device: str | None = None,
        *,
        state: Path | None = None,
        budget: Budget | None = None,
        world: World | None = None,
        deterministic: bool = True,
        longest: int | None = None,
        weights: Pretrained | None = None,
    ) -> None:
        """Prepare one call of a training function.

        Args:
            params: hyperparameters by name.
            seed: of every random decision.
            source: of the splits.
            sink: takes reports and the model.
            device: default: the one of this rank.
            state: the folder for checkpoints, which outlives the process; None: there are none.
            budget: stopping rules.
            world: the ranks; default: as torchrun's variables say.
            deterministic: have torch use deterministic kernels, where there are any.
            longest: rounds after which each loop ends, for a rehearsal; None: as many as the function says.
            weights: that the pipeline file names.

        Raises:
            ConfigError: there are fewer devices than ranks on this machine.
        """
        self.world = world or this_world()
        self.rank, self.world_size = self.world.rank, self.world.size
        self.params, self.seed, self.deterministic = dict(params), seed, deterministic
        self.device = device or device_of(self.world)
        self._source, self._sink, self._longest = source, sink, longest
        self._weights = weights or Pretrained(Path(), {})
        self._adapter: tempfile.TemporaryDirectory[str] | None = None
        self._filled: dict[str, float] = {}  # what filled up the rows of the last example, by column
        self.processing, self.rtol = Processing(), RTOL
        self.code: dict[str, Any] | None = None
        self.empty_cells = ""  # which columns of the data read so far have some, as a sentence
        self.progress = Progress(
            self.world,
            self.device,
            checkpoints=Checkpoints(state / "checkpoints") if state else None,
            budget=budget or Budget(),
            before_save=sink.sync,
        )

    # -- data

    @cached_property
    def classes(self) -> list[str]:
        """The names of the classes in the order of the labels' numbers: as many outputs does a classifier need.

        They are those of `train` and `validation`; the model keeps them, and answers with them. Empty where the labels
        are numbers to be predicted.
        """
        return self._source.classes

    def pictures(self, picture: Picture) -> None:
        """Have the dataset's picture files decoded to one mode and size, from here on: `tensors`, `loader`, `example`.

        They are float32 (n, channels, height, width), 0..1. The model keeps it, and is asked with files as well.

        Args:
            picture: mode and size, `Picture(height=224, width=224)`.

        Raises:
            ConfigError: the source is tensors in memory.
        """
        self._source = self._source.framed(picture)
        self.processing = self.processing.model_copy(update={"picture": picture})

    def tensors(self, split: str) -> tuple["Tensor", "Tensor"]:
        """A split in memory, whole in every rank.

        Args:
            split: `train` or `validation`; `test` belongs to the evaluation alone.

        Returns:
            Inputs (N, …), images as float32 0..1, and labels (N,), in the snapshot's order, on the CPU; a label that is
            a class is its place in `classes`, int64; None where the data have no label.

        Raises:
            ConfigError: another split.
        """
        return self._source.tensors(self._readable(split))

    def data(self, split: str) -> Any:
        """A split as a map-style dataset of torch, for a DataLoader of one's own; values as they are stored.

        Raises:
            ConfigError: another split than `train` and `validation`.
        """
        return self._source.dataset(self._readable(split))

    def loader(
        self, split: str, batch_size: int, *, named: bool = False, row_transform: Any = None, **options: Any
    ) -> TrackedLoader:
        """Batches (inputs, labels), in a new order each epoch, `train` only; this rank's part of each.

        Within `epochs`, the place in `train` is part of every checkpoint.

        Args:
            split: `train` or `validation`.
            batch_size: rows of a batch, all ranks together.
            named: have each batch as a dict, a column by its name, the label among them. Times and decimals are float64
                tensors then, times in seconds: since 1970 (of UTC, where a column has no zone) or midnight; NaN where a
                cell is empty. Text is a list, None where a cell is empty.
            row_transform: called with the input of each row, or with the dict of its columns; in the loader's threads,
                after the pictures were decoded. What it returns is put together again.
            transform: the same of the batch, after that: called with (inputs, labels), or the dict.
            options: of `airloom.datasets.reading.loader.Loader`: `pad` and `by_length` for lists of varying length,
                `threads`, `processes`, and others.

        What torch draws in a transform, such as torchvision's `v2` do, is the same whenever the epoch is read again:
        by the row at any number of ranks, by the batch at the same number. What Python's and numpy's own generators
        draw is not.

        Raises:
            ConfigError: another split, or an option does not fit the data.
        """
        options = {"seed": self.seed, "shuffle": split == "train", "named": named, **options}
        options["row_transform"] = row_transform
        batches = self._loader(split, batch_size, **options | {"rank": self.rank, "world_size": self.world_size})
        return TrackedLoader(batches, self.progress if split == "train" else None)

    def _loader(
        self, split: str, batch_size: int, *, named: bool = False, row_transform: Any = None, **options: Any
    ) -> Any:
        data, whole = self.data(split), options.get("transform")
        if named or row_transform or whole:
            options["transform"] = Prepared(Columns(data) if named else None, row_transform, whole)
        options |= {"seconds": True} if named and hasattr(data, "layout") else {}
        return self._source.loader(split, batch_size, **options)

    def example(self, **options: Any) -> Any:
        """The first two training inputs, a tensor (2, …) or a dict: an export from one row would fix the batch at 1.

        With `named` the label is left out, which is no input. What `pad` fills up is declared for those who ask the
        model, where `save_model` gets this example.

        Args:
            options: of `loader`, such as `pad` or `named`.

        Raises:
            ConfigError: the training split is empty.
        """
        label = Columns(self.data("train")).label if options.get("named") else ""
        self._filled = dict(options.get("pad") or {})
        for batch in self._loader("train", 2, shuffle=False, **options):
            if isinstance(batch, dict):
                return {name: part for name, part in batch.items() if name != label}
            return batch[0]
        raise ConfigError("the training split is empty", "commit more rows to the dataset")

    def _readable(self, split: str) -> str:
        """The split, where a training may read it; its columns with empty cells are named once."""
        if split not in SPLITS:
            raise ConfigError(f"a training function cannot read the split {split!r}", f"use {' or '.join(SPLITS)}")
        names = [] if self.empty_cells else self._source.empty_columns()
        if names:
            self.empty_cells = (
                f"empty cells come as NaN in the column{'s' if len(names) > 1 else ''} {', '.join(names)}"
            )
            log.warning("%s", self.empty_cells)
        return split

    def weights(self, name: str) -> Path:
        """The place of weights that the pipeline file names in its `inputs`, looked at before: a file, or a folder.

        A model's folder of the hub's cache or of a package goes to `from_pretrained` as it is.

        Args:
            name: theirs in the pipeline file.

        Raises:
            ConfigError: the file names no such weights, or they are no longer there.
            DataError: a file of them has changed since the run began.
        """
        return self._weights.path(name)

    @property
    def pretrained(self) -> list[str]:
        """The names of the weights that the pipeline file names."""
        return self._weights.names

    # -- the loop

    def epochs(self, count: int, /, **keep: Any) -> Iterator[int]:
        """`for epoch in run.epochs(10, model=model, optimizer=optimizer):` goes on where an earlier attempt was killed.

        Args:
            count: epochs in all.
            keep: what a checkpoint holds, by name: modules, optimizers, schedules, anything else with `state_dict` and
                `load_state_dict`; tensors (running sums) and dicts, which are restored in place. All random generators
                are in it anyway.

        Raises:
            StoppedByRequest: the job was asked to end; the checkpoint is saved.
            ConfigError: an object cannot be kept, or the checkpoint is of other objects.
        """
        return self.progress.loop(self._held(count), "epoch", keep)

    def steps(self, count: int, /, **keep: Any) -> Iterator[int]:
        """As `epochs`, for a loop that counts steps; a loader used by it belongs into `keep`."""
        return self.progress.loop(self._held(count), "step", keep)

    def _held(self, count: int) -> int:
        return count if self._longest is None else min(count, self._longest)

    def batches(self, source: Iterable[Any]) -> Iterator[Any]:
        """The batches of any loader, within an epoch: those that an earlier attempt trained on are left out.

        A checkpoint is written right behind a step of an optimizer that `epochs` keeps, so gradients may be added up
        over several batches, but not over the end of an epoch.

        Args:
            source: a loader of this run, or a stock DataLoader, which is read again up to the place.
        """
        return self.progress.batches(getattr(source, "plain", source))

    def finish(self, reason: str) -> None:
        """End the loop after this epoch or step, well: early stopping."""
        self.progress.finish(reason)

    def prepare(self, model: "Module") -> "Module":
        """The model on this process's device and, with several ranks, wrapped so that their gradients are averaged."""
        model.to(self.device)
        if self.world_size == 1 or unwrapped(model) is not model:
            return model
        from torch.nn.parallel import DistributedDataParallel

        return DistributedDataParallel(model, [self.device] if self.device.startswith("cuda") else None)

    # -- results

    def report(self, step: int, **metrics: Any) -> None:
        """Record the metrics of `step`, numbers or tensors of one. A step that is recorded already stays as it is.

        Raises:
            JobFailed: a metric is NaN or infinite.
            NameRefused: MLflow takes no metric of this name.
            Pruned: the study stops the trial.
        """
        # A loss still has its gradient; torch would warn of a number made of it.
        plain = {name: value.detach() if hasattr(value, "detach") else value for name, value in metrics.items()}
        values = {check_logged("metric", name): float(value) for name, value in plain.items()}
        for name, value in values.items():
            check_finite(name, value, f"step {step}")
        if self.rank == 0:
            self._sink.report(int(step), values)

    def picture(self, step: int, name: str, figure: Any) -> None:
        """Keep a picture of `step`, which MLflow's page of the run shows by its steps. Trials of a study keep none.

        It is drawn at once, so the figure may be closed or changed then; a thread brings it to MLflow. A step that has
        a picture of this name stays as it is.

        Args:
            step: number of the epoch or step.
            name: letters, digits, spaces and `_ - . /`.
            figure: a figure of matplotlib, a picture of Pillow, or an array: (height, width), with 1, 3 or 4 channels
                behind them, or before them in a tensor; uint8 or from 0 to 1.

        Raises:
            ConfigError: it is none of these, or MLflow takes no picture of this name.
        """
        from airloom.training.reporting.pictures import check_name, png_of

        if self.rank == 0:
            self._sink.picture(int(step), check_name(name), lambda: png_of(figure, name))

    def save_model(
        self,
        model: "Module | Path",
        example_input: "Tensor | tuple[Tensor, ...] | Mapping[str, Tensor] | None" = None,
        *,
        processing: Processing | None = None,
        rtol: float = RTOL,
        dynamic: Dynamic | None = None,
        serve: str = "onnx",
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        """Hand over the trained model, once, with an input of at least two rows (default: `example()`).

        It may return a tensor, or a tuple, a dict or a dataclass of tensors, each (B, …): those are its named outputs.

        Args:
            model: a module, or the file of one: ONNX, or a program saved by `torch.export`.
            example_input: what the module takes, (B, …), B at least 2: one tensor; a tuple, whose tensors have the
                names of forward's parameters; or a dict, with which forward is called by keyword.
            processing: what goes before and after the module, for those who ask with texts. The classes' names come by
                themselves.
            rtol: by how much of their size the served model's answers may differ from torch's.
            dynamic: the dimensions of any size besides the batch, by input and place, each with a name:
                `{"input_ids": {1: "length"}}`; of one tensor the input is `input`. An ONNX file says them itself.
            serve: `onnx`; or `python` for a module that ONNX cannot express: its weights are kept, and which class of
                the project's commit answers with them. `airloom predict` and `airloom.load_model` run it, the model
                server does not, nor does a pipeline with `deploy`.
            arguments: of that class, by name, as JSON has them: how it is built again.

        Raises:
            ConfigError: the example has fewer than two rows, is no tensor, or of a type that is not served.
        """
        if not 0 < rtol <= 0.1:
            raise ConfigError(
                f"save_model: rtol is {rtol}", "give a share of the answers' size, above 0 and at most 0.1"
            )
        given = processing or self.processing
        if self._filled and isinstance(example_input, Mapping) and not given.inputs:
            filled = Declared.filled(self._filled, example_input)
            given = given.model_copy(update={"inputs": filled.processing.inputs})
            dynamic = {**filled.dynamic, **(dynamic or {})}
            example_input = filled.widened(example_input)
        if not given.inputs:  # which say each for itself what becomes of a picture
            given = given.model_copy(update={"picture": given.picture or self.processing.picture})
        self.processing, self.rtol = given, rtol
        if serve not in SERVED_BY:
            raise ConfigError(f"save_model: serve is {serve!r:.80}", f"{near(str(serve), SERVED_BY)}onnx, or python")
        if arguments is not None and serve != "python":
            raise ConfigError("save_model: arguments are those of a class, and serve is onnx", "leave them out")
        if dynamic and isinstance(model, Path):
            raise ConfigError(f"save_model: dynamic is for a module, and {model.name} says itself what is open in it")
        model = model if isinstance(model, Path) else unwrapped(model)
        self.code = None if serve == "onnx" else dict(arguments or {})
        if self.code is not None:
            check_class(model, self.code)
        example = Example.of(self.example() if example_input is None else example_input, model, dynamic)
        if self.rank == 0:
            self._sink.save(model, example.kept())

    def save_adapter(self, model: Any, base: str) -> None:
        """Keep what a model of peft has learned as the artifact `adapter` of the run; it names the digest of its base.

        The model that is registered is what `save_model` gets, whole: base and adapter.

        Args:
            model: of `peft.get_peft_model`.
            base: the name of its weights in the pipeline file.

        Raises:
            ConfigError: it is no model of peft, or the pipeline file names no such weights.
        """
        place = self.weights(base)
        if self.rank == 0:
            self._adapter = tempfile.TemporaryDirectory(prefix="airloom-adapter-")
            write_adapter(unwrapped(model), Path(self._adapter.name), base, place)

    @property
    def adapter(self) -> Path | None:
        """The folder of the adapter that `save_adapter` was given; in it the run's artifacts."""
        return Path(self._adapter.name) if self._adapter else None
