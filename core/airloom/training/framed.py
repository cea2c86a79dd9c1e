"""Picture files of any size as tensors of one: a source around another."""

import os
from typing import Any

import numpy as np

from airloom import picture_labels
from airloom.datasets.reading.buffers import Buffers
from airloom.errors import ConfigError
from airloom.pictures import Picture
from airloom.training.scaled import scaled
from airloom.training.splits import Around, Source

_THREADS = 4  # that decode ahead, at most: Pillow lets the others run meanwhile


class Framed(Around):
    """Another source, its inputs decoded, and with them the labels that lie on them.

    Args:
        source: whose inputs are picture files.
        picture: mode and size.
    """

    def __init__(self, source: Source, picture: Picture) -> None:
        super().__init__(source)
        self.picture = picture
        self._kept: dict[str, tuple[Any, Any]] = {}

    def tensors(self, split: str) -> tuple[Any, Any]:
        """See `Source`."""
        if split not in self._kept:
            self._kept[split] = self._decoded(*self._source.tensors(split), Buffers(1))
        return self._kept[split]

    def loader(self, split: str, batch_size: int, *, transform: Any = None, **options: Any) -> Any:
        """See `Source`. Decoded ahead in `threads` (default: one a core, up to 4), before `transform`."""

        # As many as can wait, be in work and be held at once; a batch of 64 is some 20 MB, whose page faults cost time.
        buffers = Buffers(2 * options.get("prefetch", 16) + 2)

        def prepare(inputs: Any, labels: Any) -> Any:
            pair = self._decoded(inputs, labels, buffers)
            return pair if transform is None else transform(*pair)

        options = {"threads": min(_THREADS, os.cpu_count() or 1), "views": not options.get("processes"), **options}
        return self._source.loader(split, batch_size, transform=prepare, **options)

    def framed(self, picture: Picture) -> Source:
        """See `Source`."""
        return self._source.framed(picture)

    def _decoded(self, inputs: Any, labels: Any, buffers: Buffers) -> tuple[Any, Any]:
        """Files as float32 0..1: each is divided while its bytes are in the processor's caches."""
        import torch

        if not isinstance(inputs, list) or (inputs and isinstance(inputs[0], str)):
            hint = "leave run.pictures out: it is for picture files"
            raise ConfigError("the inputs of this dataset are no picture files", hint)
        if not self.picture.label and isinstance(labels, list) and labels and isinstance(labels[0], bytes | memoryview):
            raise ConfigError("the labels of this dataset are picture files", 'say Picture(…, label="mask")')
        shape, dtype = (len(inputs), *self.picture.shape), np.dtype(np.float32)
        floats = buffers.take("pictures", shape, dtype)
        self.picture.floats(inputs, floats)
        pictures = torch.from_numpy(floats)
        if not self.picture.label:
            return scaled(pictures, labels)
        lying = picture_labels.framed(self.picture, inputs, labels.numpy() if hasattr(labels, "numpy") else labels)
        lying = list(map(torch.from_numpy, lying)) if isinstance(lying, list) else torch.from_numpy(lying)
        return scaled(pictures, lying)
