"""The rows of bad_input.yaml, every one with --full: a clear message, no traceback, nothing changed."""

import io
import json
import re
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
import yaml

pytestmark = [pytest.mark.system, pytest.mark.timeout(900, func_only=True)]
ROWS = yaml.safe_load((Path(__file__).parent / "bad_input.yaml").read_text())


def npz(save: Callable = np.savez, **arrays: np.ndarray) -> bytes:
    sink = io.BytesIO()
    save(sink, **arrays)
    return sink.getvalue()


def npy(array: np.ndarray) -> bytes:
    sink = io.BytesIO()
    np.save(sink, array)
    return sink.getvalue()


def picture(mode: str = "L", size: tuple[int, int] = (8, 8), kind: str = "PNG", frames: int = 1) -> bytes:
    from PIL import Image

    sink, colours = io.BytesIO(), (0, 200)
    images = [Image.new(mode, size, colours[number]) for number in range(frames)]
    more = {"save_all": True, "append_images": images[1:]} if frames > 1 else {}
    images[0].save(sink, kind, **more)
    return sink.getvalue()


def digits(**changes: np.ndarray) -> bytes:
    arrays = {"images": np.full((3, 1, 8, 8), 0.3, np.float32), "labels": np.arange(3)}
    return npz(**arrays | changes)


def masked(mask: bytes) -> bytes:
    """A table of two pictures and their masks, the second of which is this."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink, files = io.BytesIO(), [picture(size=(9, 8)), picture(size=(7, 8))]
    pq.write_table(pa.table({"image": files, "mask": [picture(size=(9, 8)), mask]}), sink)
    return sink.getvalue()


def bomb() -> bytes:
    """An archive whose directory says that a small member inflates to 2 GiB."""
    data = npz(np.savez_compressed, images=np.zeros((999, 1, 8, 8), np.float32))
    return data.replace(struct.pack("<I", 999 * 64 * 4 + 128), struct.pack("<I", 2**31 - 1))


MADE: dict[str, Callable[[], bytes]] = {
    "a bomb": bomb,
    "Python objects": lambda: npy(np.array([1, None], object)),
    "images of another shape": lambda: digits(images=np.zeros((3, 3, 4, 4), np.float32)),
    "channels last": lambda: npz(images=np.zeros((3, 8, 6, 3), np.uint8), labels=np.arange(3)),
    "pixels of 255": lambda: digits(images=np.full((3, 1, 8, 8), 255, np.float32)),
    "too few labels": lambda: digits(labels=np.arange(2)),
    "a cut archive": lambda: digits()[:-40],
    "a picture": picture,
    "a cut JPEG": lambda: picture(size=(90, 80), kind="JPEG")[:-30],
    "an animation": lambda: picture(size=(9, 8), kind="WEBP", frames=2),
    "a picture of 16 bits": lambda: picture("I;16", (9, 8)),
    "a picture of 90 million pixels": lambda: picture("1", (9_500, 9_500)),
    "a cut picture": lambda: picture()[:-30],
    "a picture of 400 million pixels": lambda: picture("1", (20_000, 20_000)),
    "a mask of another size": lambda: masked(picture(size=(8, 7))),
    "a mask of colours": lambda: masked(picture("RGB", (7, 8))),
    "a cut mask": lambda: masked(picture(size=(7, 8))[:-30]),
    "deep JSON": lambda: b'{"x":' + b"[" * 5000 + b"]" * 5000 + b"}\n",
    "deep YAML": lambda: b"a: " + b"[" * 5000 + b"]" * 5000 + b"\n",
    "a long name": lambda: b"x" * 300 + b",label\n1,2\n",
    "a name with NUL": lambda: b"a\0b,label\n1,2\n",
    "a name that turns around": lambda: "a\u202eb,label\n1,2\n".encode(),
    "Latin-1": lambda: "name,label\nJos\xe9,1\n".encode("latin-1"),
}


def lay_out(row: dict, folder: Path) -> None:
    """The row's files, in the folder that its arguments call {tmp}."""
    for name, text in row.get("files", {}).items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if "made" in (text if isinstance(text, dict) else {}):
            place.write_bytes(MADE[text["made"]]())
        elif isinstance(text, dict):
            place.symlink_to(text["link"])
        else:
            place.write_text(text)


def listings(airloom) -> tuple[object, ...]:
    """What no row may change; an Airflow run of an earlier test may still submit its jobs."""
    jobs = {file.parent.name for file in (airloom.home / "jobs").glob("*/*") if file.name != "lock"}  # of its key alone
    jobs = {name for name in jobs if not re.search("(asset_triggered|manual|scheduled)__", name)}
    return airloom.json("dataset", "list"), airloom.json("status")["served"]["digits"]["version"], jobs


@pytest.fixture(scope="module")
def outcomes(
    airloom, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[int, Future]]:
    """What each row that is asked for came to: they change nothing, so two run at a time."""

    def run(row: dict) -> CompletedProcess[str]:
        folder = tmp_path_factory.mktemp("row")
        lay_out(row, folder)
        arguments = [argument.replace("{tmp}", str(folder)) for argument in row["arguments"]]
        variables = {name: text.replace("{tmp}", str(folder)) for name, text in row.get("variables", {}).items()}
        return airloom.run(*arguments, variables=variables)

    tests = [item for item in request.session.items if "outcomes" in getattr(item, "fixturenames", ())]
    before = listings(airloom)
    with ThreadPoolExecutor(2) as pool:
        yield {number: pool.submit(run, ROWS[number]) for number in (test.callspec.params["number"] for test in tests)}
    assert listings(airloom) == before


def name(number: int) -> str:
    return json.dumps(ROWS[number]["arguments"])[:80]


@pytest.mark.matrix("number", range(len(ROWS)), sample=16, ids=name)
def test_bad_input(outcomes: dict[int, Future], number: int) -> None:
    done = outcomes[number].result()
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    for text in ROWS[number]["says"]:
        assert text in done.stderr, done.stderr
