"""Pictures of a training: kept as files until MLflow has them, and each step's only once."""

import logging
import re
import time
import uuid
from collections import deque
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airloom.errors import ConfigError
from airloom.pictures import MOST_PIXELS

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)
FOLDER = "images"  # of the run's artifacts, where MLflow's page looks for pictures by step
_TAG = "mlflow.loggedImages"  # so does it know that there are some
_NAME = re.compile(r"[a-zA-Z0-9_\-./ ]{1,100}")  # what MLflow takes
_SMALL = 256  # pixels of a side of the small copy that its page shows first
_FILE = re.compile(r"(.+)\+step\+(-?\d+)\+timestamp\+\d+\+[0-9a-f-]{36}\.png")


class Pictures:
    """What was drawn, in a folder that outlives the process; MLflow gets each under the name that its own client gives.

    A picture that MLflow has is an empty file. A step that is drawn again after a crash stays as it is.

    Args:
        folder: for the files.
        run_id: the MLflow run.
    """

    def __init__(self, folder: Path, run_id: str) -> None:
        self._folder, self._run_id = folder, run_id
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        files = [(path, file) for path in sorted(folder.iterdir()) if (file := _FILE.fullmatch(path.name))]
        self._drawn = {(file[1], int(file[2])) for _, file in files}
        self._waiting = deque(path for path, _ in files if path.stat().st_size)  # one thread adds, another one takes
        self._told = False

    def add(self, step: int, name: str, png: Callable[[], bytes]) -> None:
        """Keep a picture; it is drawn only where the step has none of this name."""
        key = name.replace("/", "~")  # as MLflow's client writes it
        if (key, step) in self._drawn:
            return
        identity = uuid.uuid5(uuid.NAMESPACE_URL, f"{self._run_id}/{name}/{step}")
        file = self._folder / f"{key}+step+{step}+timestamp+{int(time.time() * 1000)}+{identity}.png"
        data = png()
        try:
            file.with_suffix(".part").write_bytes(data)
            file.with_suffix(".part").replace(file)
        except OSError as error:  # a full disk is no reason to end a training
            log.warning("the picture %s of step %d is lost, %s cannot be written: %s", name, step, file, error)
            return
        self._drawn.add((key, step))
        self._waiting.append(file)

    @property
    def left(self) -> int:
        """Pictures that MLflow does not have."""
        return len(self._waiting)

    def send(self, api: "MlflowClient") -> None:
        """Send what is new; after a crash a picture may be sent twice, to the same place."""
        while self._waiting:
            path = self._waiting[0]
            small = path.with_name(f"{path.stem}+compressed.webp")
            small.write_bytes(_small(path.read_bytes()))
            api.log_artifact(self._run_id, str(path), FOLDER)
            api.log_artifact(self._run_id, str(small), FOLDER)
            if not self._told:
                api.set_tag(self._run_id, _TAG, "True")
                self._told = True
            path.write_bytes(b"")
            small.unlink()
            self._waiting.popleft()


def check_name(name: str) -> str:
    """The name, if MLflow takes pictures of it.

    Raises:
        ConfigError: it does not.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        hint = "at most 100 letters, digits, spaces and _ - . /"
        raise ConfigError(f"MLflow takes no picture called {str(name)[:80]!r}", hint)
    return name


def png_of(figure: Any, name: str) -> bytes:
    """A PNG file of a figure of matplotlib, a picture of Pillow, or an array.

    Args:
        figure: arrays and tensors are (height, width), or have 1, 3 or 4 channels: of an array the last axis, else the
            first; of a tensor the first one, else the last. They are uint8, or fractions from 0 to 1.
        name: of the picture, for messages.

    Raises:
        ConfigError: it is nothing of these.
    """
    buffer = BytesIO()
    if hasattr(figure, "savefig"):
        figure.savefig(buffer, format="png")
        return buffer.getvalue()
    picture = figure if hasattr(figure, "convert") and hasattr(figure, "getbands") else _of_array(figure, name)
    if picture.width * picture.height > MOST_PIXELS:
        raise ConfigError(f"picture {name!r} has {picture.width} x {picture.height} pixels", f"at most {MOST_PIXELS}")
    whole = picture if picture.mode in ("L", "RGB", "RGBA") else picture.convert("RGB")
    whole.save(buffer, "PNG", compress_level=1)  # quick; the training waits for it
    return buffer.getvalue()


def _of_array(figure: Any, name: str) -> Any:
    import numpy as np
    from PIL import Image

    tensor = hasattr(figure, "detach")
    values = np.asarray(figure.detach().cpu() if tensor else figure)
    if values.ndim == 3 and values.shape[0] in (1, 3, 4) and (tensor or values.shape[2] not in (1, 3, 4)):
        values = values.transpose(1, 2, 0)
    colours = values.ndim == 2 or (values.ndim == 3 and values.shape[2] in (1, 3, 4))
    if not colours or not values.size or values.dtype.kind not in "buf":
        what = f"{values.dtype} of shape {values.shape}"
        hint = (
            "give (height, width), with 1, 3 or 4 channels, uint8 or from 0 to 1; or a figure of matplotlib or Pillow"
        )
        raise ConfigError(f"picture {name!r} is {what}", hint)
    if values.dtype != np.uint8:
        if not (values.min() >= 0 and values.max() <= 1):  # NaN is neither
            message = f"picture {name!r} has values from {values.min():g} to {values.max():g}"
            raise ConfigError(message, "give uint8, or fractions from 0 to 1: (x - x.min()) / (x.max() - x.min())")
        values = np.rint(values * np.float64(255)).astype(np.uint8)
    return Image.fromarray(
        values[..., 0] if values.ndim == 3 and values.shape[2] == 1 else np.ascontiguousarray(values)
    )


def _small(png: bytes) -> bytes:
    from PIL import Image

    with Image.open(BytesIO(png), formats=["PNG"]) as picture:
        picture.thumbnail((_SMALL, _SMALL))
        buffer = BytesIO()
        picture.save(buffer, "WEBP")
    return buffer.getvalue()
